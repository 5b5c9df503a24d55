"""Checks an audit log: was a record edited, taken out, put elsewhere, or cut off at the end?"""

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from markgraph.audit.chain import GENESIS, HEADS, LOG, NO_RECORD, Head, files, signed, split
from markgraph.audit.keys import HASH, Keys
from markgraph.errors import StorageError

BEGINNING = Head(0, GENESIS)
MOST = 100
"""Problems that a report names."""


class Problem(NamedTuple):
    """Something that writing a log doesn't do."""

    seq: int
    """Number of the record at which it shows."""
    what: str


@dataclass
class Report:
    """What was found."""

    records: int = 0
    heads: int = 0
    last: Head = BEGINNING
    """How far the log goes."""
    unsigned: int = 0
    """Records at the end that no head is signed for yet: those of the last milliseconds."""
    problems: list[Problem] = field(default_factory=list)
    """The first `MOST`."""

    def add(self, seq: int, what: str) -> None:
        """Note a problem."""
        if len(self.problems) < MOST:
            self.problems.append(Problem(seq, what))


def verify(folder: Path, keys: Keys, anchor: Head | None = None) -> Report:
    """Return what is wrong with a log.

    A half written last line is not: it is what a process leaves that is killed, and the next one says so.
    Who can write both files and cut both off at the same record is only found out by an `anchor`.

    Args:
        folder: of the log.
        keys: of the log.
        anchor: how far the log went once, as somebody else remembers it.

    Raises:
        StorageError: there is no log, or a key can't be read.
    """
    check_there(folder)
    report = Report()
    wanted: dict[int, str] = {}
    for seq, mac in _heads(folder, keys, report):
        if wanted.setdefault(seq, mac) != mac:
            report.add(seq, "two different records were signed for under this number: a tail was replaced")
    report.heads = len(wanted)
    signed_up_to = max(wanted, default=0)
    if anchor:
        wanted[anchor.seq] = anchor.mac
    secret = keys.chain()
    for line in _lines(folder):
        _check(line, secret, wanted, report)
    for seq in sorted(wanted)[:1]:
        report.add(
            seq, f"the log ends at {report.last.seq}, and went on to {max(wanted)}: its tail was cut off"
        )
    report.unsigned = max(0, report.last.seq - signed_up_to)
    return report


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log, oldest first, whether or not they are what was written.

    Raises:
        StorageError: there is no log, or a line is no JSON object.
    """
    check_there(folder)
    for line in _lines(folder):
        yield _record(line)


def checked(folder: Path, keys: Keys) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the records of a log, oldest first, each with what is wrong with it, or an empty string.

    Raises:
        StorageError: there is no log, a line is no JSON object, or the key can't be read.
    """
    check_there(folder)
    secret, before = keys.chain(), BEGINNING
    for line in _lines(folder):
        report = Report(last=before)
        _check(line, secret, {}, report)
        before = report.last
        yield _record(line), report.problems[0].what if report.problems else ""


def check_there(folder: Path) -> None:
    """Refuse a folder without a log.

    Raises:
        StorageError: saying where it is looked for.
    """
    if not any(file.exists() for file in files(folder, LOG)):
        raise StorageError(f"There is no audit log in {folder}. Config audit.folder says where it is.")


def _record(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except NO_RECORD as error:
        raise StorageError(
            f"The audit log has a line that is no record ({error}): run markgraph audit verify."
        ) from error


def _check(line: bytes, secret: bytes, wanted: dict[int, str], report: Report) -> None:
    """Compare a record with its hash, with the one before it, and with the head that was signed for it."""
    report.records += 1
    try:
        body, mac = split(line)
        record = json.loads(body)
        seq, prev = int(record["seq"]), str(record["prev"])
    except NO_RECORD:
        report.add(report.last.seq + 1, "a line is no record")
        return
    if not hmac.compare_digest(hmac.digest(secret, body, HASH).hex(), mac):
        report.add(seq, "the record was edited, or written with another key")
    elif seq != report.last.seq + 1 or prev != report.last.mac:
        report.add(seq, f"the record does not follow on {report.last.seq}: records were taken out or moved")
    if wanted.pop(seq, mac) != mac:
        report.add(seq, "another record was signed for under this number")
    report.last = Head(seq, mac)


def _heads(folder: Path, keys: Keys, report: Report) -> Iterator[tuple[int, str]]:
    """Yield the heads whose signature is right."""
    from cryptography.exceptions import InvalidSignature

    public = keys.public()
    for file in files(folder, HEADS):
        for line in file.read_bytes().splitlines() if file.exists() else ():
            try:
                head = json.loads(line)
                seq, mac = int(head["seq"]), str(head["mac"])
                public.verify(bytes.fromhex(head["signature"]), signed(Head(seq, mac)))
            except (*NO_RECORD, InvalidSignature):
                report.add(
                    report.last.seq, f"{file.name} has a line that is no head signed with this log's key"
                )
            else:
                yield seq, mac


def _lines(folder: Path) -> Iterator[bytes]:
    """Yield the whole lines of a log."""
    for file in files(folder, LOG):
        if file.exists():
            with file.open("rb") as lines:
                yield from (line.rstrip(b"\n") for line in lines if line.endswith(b"\n"))
