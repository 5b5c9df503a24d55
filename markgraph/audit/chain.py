"""Records on disk: JSON lines, each with a keyed hash over itself and the one before it.

A log is a folder: `log.jsonl` is written to, `log-LAST.jsonl` are full and end with record number LAST.
Beside each is a file of signed heads, which say how many records there were at least: so a tail that was cut
off is missed. Several processes may write; a lock makes them take turns.
"""

import hmac
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markgraph.audit.keys import HASH, Keys
from markgraph.errors import StorageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOG, HEADS = "log", "heads"
GENESIS = "0" * 64
"""What the first record names as the one before it."""
_MAC = b',"mac":"'
_BLOCK = 1 << 16
NO_RECORD = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading a line as a record raises where it is none: `{"seq": Infinity}`, or lists a thousand deep."""


class Head(NamedTuple):
    """How far a log goes."""

    seq: int
    """Number of the last record, from 1; 0 for an empty log."""
    mac: str


class Line(NamedTuple):
    """A record as it stands in the file."""

    body: bytes
    """What its hash is over."""
    mac: str


class Chain:
    """Appends to a log. Its files stay open: a process that was forked makes a chain of its own."""

    def __init__(self, folder: Path, keys: Keys, max_bytes: int) -> None:
        """Remember where the log is; nothing is opened yet."""
        self.folder, self.keys, self.max_bytes = folder, keys, max_bytes
        self._turn = threading.Lock()
        self._lock: int | None = None
        self._file: int | None = None
        self._known: tuple[tuple[int, int], Head] | None = None
        """The file as this process left it, by inode and size, and its head."""
        self._is_new = False
        """Whether the folder is to be synced, too, so that a file keeps its name."""

    def append(self, events: Sequence[Mapping[str, Any]]) -> Head:
        """Write events, and return how far the log goes with them. They outlive the process from now on.

        What a killed process left half written goes out first, and a record says so.

        Raises:
            OSError: the disk is full, or the folder can't be written to; nothing was appended.
            StorageError: the keys are gone.
        """
        with self.alone():
            file = self._opened()
            head, torn = self._head(file)
            if os.fstat(file).st_size > self.max_bytes:
                file = self._turned_over(file, head)
            repaired = [{"action": "audit:repaired", "bytes": torn}] if torn else []
            head = self._write(file, head, [*repaired, *events])
            stat = os.fstat(file)
            self._known = ((stat.st_ino, stat.st_size), head)
        return head

    def sync(self, head: Head) -> None:
        """Make sure that everything up to `head` outlives a power failure, and sign that it is there.

        Raises:
            OSError: the disk failed.
            StorageError: the keys are gone.
        """
        for descriptor in self._unsafe():
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        signature = self._signing.sign(signed(head)).hex()
        line = json.dumps({"seq": head.seq, "mac": head.mac, "signature": signature}) + "\n"
        with self.alone(), (self.folder / f"{HEADS}.jsonl").open("a", encoding="ascii") as file:
            file.write(line)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other writers out, and see to it that there are keys; the lock of one that dies is free."""
        import fcntl

        with self._turn:
            begins = self._lock is None
            if self._lock is None:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                if begins and not any(file.exists() for file in files(self.folder, LOG)):
                    self.keys.make()  # a log that has records needs the keys that it has
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        with self._turn:
            for descriptor in (self._lock, self._file):
                if descriptor is not None:
                    os.close(descriptor)
            self._lock = self._file = None

    def _opened(self) -> int:
        """Return the file that is written to; another process may have put the last one aside."""
        place = self.folder / f"{LOG}.jsonl"
        if self._file is not None and not _is_at(self._file, place):
            os.close(self._file)
            self._file = None
        if self._file is None:
            self._file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._is_new = True
        return self._file

    def _unsafe(self) -> list[int]:
        """Return what is to be synced; a file that is full was, before it got another name."""
        with self._turn:
            descriptors = [] if self._file is None else [os.dup(self._file)]
            if self._is_new:
                descriptors.append(os.open(self.folder, os.O_RDONLY))
                self._is_new = False
        return descriptors

    def _write(self, file: int, head: Head, events: Sequence[Mapping[str, Any]]) -> Head:
        lines = []
        for event in events:
            line, head = _line(self._secret, head, event)
            lines.append(line)
        before, whole = os.fstat(file).st_size, b"".join(lines)
        written = os.write(file, whole)
        if written < len(whole):
            os.ftruncate(file, before)
            raise OSError(f"only {written} of {len(whole)} bytes could be written; the disk may be full")
        return head

    def _head(self, file: int) -> tuple[Head, int]:
        """Return how far the log goes, and how many bytes of a half written record were cut off."""
        stat = os.fstat(file)
        if self._known and self._known[0] == (stat.st_ino, stat.st_size):
            return self._known[1], 0
        last, torn = _last_line(file, stat.st_size)
        if torn:
            os.ftruncate(file, stat.st_size - torn)
        if last:
            return head_of(last), torn
        full = files(self.folder, LOG)[:-1]
        return (_head_of_file(full[-1]) if full else Head(0, GENESIS)), torn

    def _turned_over(self, file: int, head: Head) -> int:
        """Put a full file aside, the heads first, and return a new one."""
        os.fdatasync(file)
        for kind in (HEADS, LOG):
            place = self.folder / f"{kind}.jsonl"
            if place.exists():
                place.replace(self.folder / f"{kind}-{head.seq:012}.jsonl")
        return self._opened()

    @cached_property
    def _secret(self) -> bytes:
        return self.keys.chain()

    @cached_property
    def _signing(self) -> "Ed25519PrivateKey":
        return self.keys.signing()


def now() -> str:
    """Return the time as records have it: UTC, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def files(folder: Path, kind: str) -> list[Path]:
    """Return the files of a log, or of its heads, oldest first; the one that is written to is the last."""
    return [*sorted(folder.glob(f"{kind}-*.jsonl")), folder / f"{kind}.jsonl"]


def split(line: bytes) -> Line:
    """Return a line without its hash, and the hash.

    Raises:
        ValueError: there is none.
    """
    body, found, mac = line.rpartition(_MAC)
    if not found or not mac.endswith(b'"}'):
        raise ValueError("a record has no hash")
    return Line(body + b"}", mac.removesuffix(b'"}').decode("ascii"))


def signed(head: Head) -> bytes:
    """Return what the signature of a head is over."""
    return f"markgraph audit head {head.seq} {head.mac}".encode()


def head_of(line: bytes) -> Head:
    """Return how far a log goes whose last line this is.

    Raises:
        StorageError: it is no record.
    """
    try:
        body, mac = split(line)
        return Head(int(json.loads(body)["seq"]), mac)
    except NO_RECORD as error:
        raise StorageError(
            f"The audit log ends with what is no record of it: {error}. See `markgraph audit verify`."
        ) from error


def _line(secret: bytes, head: Head, event: Mapping[str, Any]) -> tuple[bytes, Head]:
    """Return an event as a line of the log, and how far the log goes with it."""
    record = {"seq": head.seq + 1, "time": now(), **event, "prev": head.mac}
    body = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    mac = hmac.digest(secret, body, HASH).hex()
    return body[:-1] + _MAC + mac.encode() + b'"}\n', Head(head.seq + 1, mac)


def _head_of_file(place: Path) -> Head:
    with place.open("rb") as file:
        return head_of(_last_line(file.fileno(), place.stat().st_size)[0])


def _is_at(file: int, place: Path) -> bool:
    """Tell whether an open file is still the one at `place`."""
    try:
        return os.path.samestat(os.fstat(file), place.stat())
    except FileNotFoundError:
        return False


def _last_line(file: int, size: int) -> tuple[bytes, int]:
    """Return the last whole line of a file, and how many bytes of another stand behind it."""
    tail, at = b"", size
    while at and tail.count(b"\n") < 2:
        begin = max(0, at - _BLOCK)
        tail, at = os.pread(file, at - begin, begin) + tail, begin
    whole, newline, torn = tail.rpartition(b"\n")
    return whole.rpartition(b"\n")[2] if newline else b"", len(torn)
