"""Opening an SQLite file that others open, too, or were killed in."""

import sqlite3
import threading
from pathlib import Path

import pytest

from markgraph.errors import StorageError
from markgraph.ingestion.ledger import Ledger
from markgraph.retrieval.storage import open_database

SCHEMA = "CREATE TABLE IF NOT EXISTS a (x); CREATE TABLE IF NOT EXISTS b (x);"


def test_a_file_that_somebody_died_in_while_making_it_is_made_again(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        open_database(tmp_path / "new.sqlite", 3, "CREATE TABLE a (x); dies;")
    for _ in range(2):
        database = open_database(tmp_path / "new.sqlite", 3, SCHEMA)
        assert database.execute("SELECT count(*) FROM b").fetchone() == (0,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        database.close()
    with pytest.raises(StorageError, match=r"new\.sqlite has the layout of another version .*\(3, not 4\)"):
        open_database(tmp_path / "new.sqlite", 4, SCHEMA)


def test_waits_while_another_makes_it(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "new.sqlite", check_same_thread=False, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(0.2, other.execute, ("COMMIT",))
    timer.start()
    open_database(tmp_path / "new.sqlite", 3, SCHEMA).close()
    timer.join()
    other.close()


def test_a_ledger_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    for attempt in range(5):
        ledgers = [Ledger(tmp_path / f"{attempt}.sqlite") for _ in range(8)]
        failed: list[BaseException] = []

        def use(ledger: Ledger, failed: list[BaseException] = failed) -> None:
            try:
                ledger.describe(["words:a"])
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=use, args=(ledger,)) for ledger in ledgers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for ledger in ledgers:
            ledger._database.close()
