"""A log that was changed behind its back: each change is found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.audit.chain import Head
from markgraph.audit.file import FileAudit
from markgraph.audit.verify import verify
from markgraph.errors import StorageError
from tests.audit.test_log import file_of, log, problems

__all__ = ["log"]
Lines = list[bytes]


def edited(lines: Lines) -> Lines:
    return [*lines[:4], lines[4].replace(b'"u0"', b'"u9"'), *lines[5:]]


def without_one(lines: Lines) -> Lines:
    return [*lines[:4], *lines[5:]]


def without_the_first(lines: Lines) -> Lines:
    return lines[1:]


def swapped(lines: Lines) -> Lines:
    return [*lines[:4], lines[5], lines[4], *lines[6:]]


def repeated(lines: Lines) -> Lines:
    return [*lines[:5], lines[4], *lines[5:]]


def cut(lines: Lines) -> Lines:
    return lines[:-1]


def cut_within_a_record(lines: Lines) -> Lines:
    return [*lines[:-1], lines[-1][:20]]


def emptied(_: Lines) -> Lines:
    return []


@pytest.mark.parametrize(
    "change",
    [edited, without_one, without_the_first, swapped, repeated, cut, cut_within_a_record, emptied],
)
def test_a_change_is_found(log: FileAudit, change: Callable[[Lines], Lines]) -> None:
    lines = file_of(log).read_bytes().splitlines(keepends=True)
    file_of(log).write_bytes(b"".join(change(lines)))
    assert problems(log) != []


def test_a_tail_that_was_cut_off_is_found_after_others_were_written_in_its_place(log: FileAudit) -> None:
    lines = file_of(log).read_bytes().splitlines(keepends=True)
    file_of(log).write_bytes(b"".join(lines[:-3]))
    for _ in range(5):
        log.write({"action": "graph:run"})
    log.close()
    assert any("another record was signed for" in what for what in problems(log))


def test_it_is_found_too_where_heads_for_the_same_numbers_are_signed_again(log: FileAudit) -> None:
    heads = log.folder / "heads.jsonl"
    signed = {json.loads(line)["seq"] for line in heads.read_text().splitlines()}
    lines = file_of(log).read_bytes().splitlines(keepends=True)
    file_of(log).write_bytes(b"".join(lines[: min(signed) - 1]))
    for number in range(min(signed), max(signed) + 1):
        log.write({"action": "graph:run"}, "safe" if number in signed else "written")
    log.close()
    assert {json.loads(line)["seq"] for line in heads.read_text().splitlines()} == signed
    assert any("two different records were signed for" in what for what in problems(log))


@pytest.mark.parametrize(
    "line", ['{"seq":Infinity,"prev":"x","mac":"aa"}', '["' * 3 + "[" * 100_000 + ',"mac":"aa"}']
)
def test_a_line_that_python_cannot_hold_is_found(log: FileAudit, line: str) -> None:
    for file in (file_of(log), log.folder / "heads.jsonl"):
        with file.open("a") as lines:
            lines.write(f"{line}\n")
    assert "a line is no record" in problems(log)
    assert any("no head signed" in what for what in problems(log))
    with pytest.raises(StorageError, match="ends with what is no record"):
        log.write({"action": "graph:run"}, "written")


def test_a_record_of_another_key_is_found(log: FileAudit, tmp_path: Path) -> None:
    other = FileAudit(str(tmp_path / "other"), str(tmp_path / "others-keys"))
    for number in range(10):
        other.write({"action": "graph:run", "actor": f"u{number % 2}", "number": number})
    other.close()
    file_of(log).write_bytes(file_of(other).read_bytes())
    assert len(problems(log)) >= 10


def test_a_head_that_this_log_has_not_signed_is_found(log: FileAudit) -> None:
    heads = log.folder / "heads.jsonl"
    heads.write_text(heads.read_text().replace('"seq": 10', '"seq": 9'))
    assert any("no head signed" in what for what in problems(log))


def test_cutting_off_log_and_heads_at_once_is_found_by_who_wrote_the_head_down(log: FileAudit) -> None:
    anchor = verify(log.folder, log.keys).last
    for file in (file_of(log), log.folder / "heads.jsonl"):
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["seq"] <= 5]
        file.write_bytes(b"".join(kept))
    assert verify(log.folder, log.keys).problems == []
    assert verify(log.folder, log.keys, anchor).problems != []
    assert verify(log.folder, log.keys, Head(5, "0" * 64)).problems != []
