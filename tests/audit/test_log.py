"""An audit log can't be changed without its being found, and outlives its writers."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from markgraph.audit.disk import RETRY
from markgraph.audit.export import Filter, to_ocsf
from markgraph.audit.file import MOST_PENDING, FileAudit
from markgraph.audit.verify import records, verify
from markgraph.errors import ConfigError, StorageError


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileAudit]:
    """Return a log of ten records."""
    log = FileAudit(str(tmp_path / "audit"), str(tmp_path / "keys"))
    for number in range(10):
        log.write({"action": "graph:run", "actor": f"u{number % 2}", "number": number})
    log.close()
    yield log
    log.close()


def file_of(log: FileAudit) -> Path:
    return log.folder / "log.jsonl"


def problems(log: FileAudit) -> list[str]:
    return [problem.what for problem in verify(log.folder, log.keys).problems]


def test_what_was_written_is_read_back_in_order_and_is_as_it_was_written(log: FileAudit) -> None:
    assert [record["number"] for record in records(log.folder)] == list(range(10))
    report = verify(log.folder, log.keys)
    assert (report.records, report.unsigned, report.problems) == (10, 0, [])
    assert report.last.seq == 10


def test_half_a_record_goes_out_with_the_next_and_a_record_says_so(log: FileAudit) -> None:
    with file_of(log).open("ab") as file:
        file.write(b'{"seq":11,"time":')
    log.write({"action": "graph:run", "number": 10})
    log.close()
    assert problems(log) == []
    (repaired, last) = list(records(log.folder))[-2:]
    assert (repaired["action"], repaired["bytes"], last["number"]) == ("audit:repaired", 17, 10)


def test_a_full_file_is_put_aside_and_the_chain_goes_on(tmp_path: Path) -> None:
    log = FileAudit(str(tmp_path), str(tmp_path / "keys"), max_mib=1)
    for number in range(600):
        log.write({"action": "graph:run", "number": number, "padding": "x" * 4000}, "written")
    log.close()
    assert len(list(tmp_path.glob("log-*.jsonl"))) == 2
    assert [record["number"] for record in records(tmp_path)] == list(range(600))
    assert problems(log) == []
    sorted(tmp_path.glob("log-*.jsonl"))[0].unlink()
    assert problems(log) != []


def test_four_writers_that_are_killed_leave_a_chain_that_holds_all_they_were_told_it_has(
    tmp_path: Path,
) -> None:
    told: dict[str, int] = {}
    for round_ in range(2):
        names = [f"w{round_}{at}" for at in range(4)]
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.audit.writer", str(tmp_path), name],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in names
        ]
        for writer in writers:
            assert writer.stdout
            while int(writer.stdout.readline()) < 60:
                pass
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for name, writer in zip(names, writers, strict=True):
            said = writer.communicate()[0].split()
            told[name] = int(said[-1]) if said else 60
    log = FileAudit(str(tmp_path), str(tmp_path / "keys"))
    log.write({"action": "graph:run", "actor": "last", "number": 0})
    log.close()
    assert problems(log) == []
    written: dict[str, list[int]] = {}
    for record in records(tmp_path):
        if "number" in record:
            written.setdefault(record["actor"], []).append(record["number"])
    for name, last in told.items():
        assert written[name] == list(range(len(written[name])))
        assert len(written[name]) > last


def test_keys_are_for_the_owner_only_and_a_log_without_them_gets_no_others(log: FileAudit) -> None:
    assert {file.stat().st_mode & 0o777 for file in log.keys.folder.iterdir()} == {0o600}
    for file in log.keys.folder.iterdir():
        file.unlink()
    later = FileAudit(str(log.folder), str(log.keys.folder))
    with pytest.raises(StorageError, match=r"chain\.key can't be read"):
        later.write({"action": "graph:run"})
    assert list(log.keys.folder.iterdir()) == []


def test_waits_until_the_disk_has_it_and_signed_heads_say_so(tmp_path: Path) -> None:
    log = FileAudit(str(tmp_path), str(tmp_path / "keys"))
    log.write({"action": "documents:write"}, "safe")
    assert json.loads((tmp_path / "heads.jsonl").read_text().splitlines()[-1])["seq"] == 1
    log.close()


@contextmanager
def full(log: FileAudit) -> Iterator[None]:
    """Let no file of this process grow beyond what the log has, as a full disk does.

    Only within a test: where pytest's own output is a file, it would have no room for its report either.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_of(log).stat().st_size + 10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_log_that_cant_be_written_says_so_and_stays_whole(log: FileAudit) -> None:
    with full(log), pytest.raises(StorageError, match="can't be written"):
        log.write({"action": "graph:run"})
    assert problems(log) == []


def test_best_effort_reads_on_takes_it_down_later_and_changes_nothing(
    log: FileAudit, caplog: pytest.LogCaptureFixture
) -> None:
    lax = FileAudit(str(log.folder), str(log.keys.folder), reads="best_effort")
    with full(log):
        lax.write({"action": "documents:read", "number": 10})
        assert "can't be written" in caplog.text
        with pytest.raises(StorageError):
            lax.write({"action": "documents:write", "number": -1})
        for _ in range(MOST_PENDING + 6):
            lax.write({"action": "documents:read"})
    time.sleep(RETRY)
    lax.write({"action": "documents:read", "number": 11}, "written")
    lax.close()
    numbers = [record["number"] for record in records(log.folder) if "number" in record]
    assert numbers == list(range(12))
    assert [record["records"] for record in records(log.folder) if record["action"] == "audit:lost"] == [7]
    assert problems(log) == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_writes_to_the_same_log(log: FileAudit) -> None:
    log.write({"action": "graph:run", "number": 10})
    child = os.fork()
    if not child:
        log.write({"action": "graph:run", "number": 11}, "safe")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    log.close()
    assert [record["number"] for record in records(log.folder)] == list(range(12))
    assert problems(log) == []


@pytest.mark.parametrize("settings", [{"reads": "never"}, {"max_mib": 0}])
def test_refuses_settings_that_mean_nothing(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="Allowed"):
        FileAudit("a", "b", **settings)  # type: ignore[arg-type]


def test_words_are_told_apart_and_not_told(log: FileAudit, tmp_path: Path) -> None:
    assert log.sealed("When?") == log.sealed("When?") != log.sealed("When? ")
    other = FileAudit(str(tmp_path / "other"), str(tmp_path / "others-keys"))
    assert other.sealed("When?") != log.sealed("When?")


def test_filters_by_actor_document_tenant_and_time() -> None:
    record = {"time": "2026-11-27T12:00:00.000+00:00", "actor": "ada", "tenant": "t", "documents": {"d": []}}

    def found(**wanted: object) -> int:
        return len(list(Filter(**wanted).chosen([record])))  # type: ignore[arg-type]

    assert found(tenant="t", actor="ada", document="d") == 1
    assert found(tenant="u") == found(actor="bob") == found(document="e") == 0


def test_an_exported_record_has_what_the_class_api_activity_asks_for(log: FileAudit) -> None:
    required = {
        "activity_id", "actor", "api", "category_uid", "class_uid",
        "metadata", "severity_id", "src_endpoint", "time", "type_uid",
    }  # fmt: skip
    for record in records(log.folder):
        event = to_ocsf(record)
        assert required <= event.keys()
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert {"version", "product"} <= event["metadata"].keys()
        assert event["api"]["operation"]
