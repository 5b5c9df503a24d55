import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from markgraph.documents.types import Document
from markgraph.errors import StorageError
from markgraph.ingestion.corpora import Item
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.listing import LOOKED_AT, Listing
from markgraph.ingestion.plan import Plan


class Rows:
    """A corpus that counts how often it is listed."""

    name = "rows"

    def __init__(self, sources: list[str]) -> None:
        self.sources, self.listed = sources, 0

    def items(self) -> Iterator[Item]:
        self.listed += 1
        return (Item(source, "f", lambda: Document("a", "text", "t")) for source in self.sources)

    def skipped(self) -> list[str]:
        return []


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = Plan(Ledger(tmp_path / "ledger.sqlite"), "run")
    plan.open()
    return plan


def taken(listing: Listing, plan: Plan, size: int) -> list[list[str]]:
    """Take step by step until the corpus is at its end."""
    steps, place = [], 0
    while place is not None:
        items, place = listing.take(plan, place, size)
        steps.append(list(items))
    return steps


def test_takes_what_is_pending_in_the_corpus_order_and_lists_once(plan: Plan) -> None:
    rows = Rows([f"{at:04}" for at in range(3 * LOOKED_AT)])
    pending = rows.sources[::3]
    plan.will_read(dict.fromkeys(pending, "mark"))
    steps = taken(Listing(rows), plan, 50)
    assert [source for step in steps for source in step] == pending
    assert len(steps) > 2
    assert rows.listed == 1


def test_goes_on_where_a_step_ended_though_the_listing_is_lost(plan: Plan) -> None:
    rows = Rows([f"{at:04}" for at in range(3 * LOOKED_AT)])
    plan.will_read(dict.fromkeys(rows.sources, "mark"))
    first, place = Listing(rows).take(plan, 0, 50)
    assert place is not None
    second, _ = Listing(rows).take(plan, place, 10_000)
    assert [*first, *second] == rows.sources


def test_of_two_documents_with_one_name_the_first_is_taken(plan: Plan) -> None:
    rows = Rows(["a", "b", "a", *(f"x{at}" for at in range(LOOKED_AT)), "a"])
    plan.will_read({"a": "mark", "b": "mark"})
    assert taken(Listing(rows), plan, 1) == [["a"], ["b"], []]


def test_another_run_finds_nothing_to_read_or_remove(plan: Plan) -> None:
    plan.will_read({"a": "mark"})
    plan.will_remove(["b"])
    other = Plan(plan.ledger, "other")
    assert taken(Listing(Rows(["a"])), other, 5) == [[]]
    assert list(other.gone()) == []
    assert list(plan.gone()) == [["b"]]


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.sqlite") as database:
        database.execute("CREATE TABLE documents (tenant TEXT, source TEXT)")
    database.close()
    with pytest.raises(StorageError, match=r"another version of markgraph.*collection=NAME"):
        Ledger(tmp_path / "old.sqlite").known("default", ["a"])
