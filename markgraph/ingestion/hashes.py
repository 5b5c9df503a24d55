"""Hashes files, and only those that may have changed since they were hashed last."""

import json
import os
import time
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path

from markgraph.ingestion.corpora import Item
from markgraph.ingestion.ledger import Ledger

SETTLED = 2_000_000_000
"""Nanoseconds that a file must have been left alone for its hash to be kept.

A file system's clock is coarse: a file may be written again in the same tick, at the same size, after it
was hashed, and then nothing but its bytes would tell (git's `racy` entries). FAT counts in 2 seconds.
"""


def fingerprints(ledger: Ledger, items: Sequence[Item]) -> dict[str, str]:
    """Return the fingerprint of each item, by source; empty where its file can't be read."""
    kept = _kept(ledger, [item.source for item in items if item.path])
    found, fresh = {}, []
    for item in items:
        stamp, sha256 = kept.get(item.source, ("", ""))
        if item.path and (not stamp or stamp != _stamp_of(item.path)):
            stamp, sha256 = _hash(item.path)
            fresh.append((item.source, stamp, sha256))
        found[item.source] = item.fingerprint or sha256
    _keep(ledger, fresh)
    return found


def _stamp_of(path: Path) -> str:
    try:
        return _stamp(os.stat(path))
    except OSError:
        return ""


def _hash(path: Path) -> tuple[str, str]:
    """Return the stamp of a file and the hash of its bytes; no stamp where it may yet change unseen."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            sha256 = file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except OSError:
        return "", ""
    age = time.time_ns() - max(after.st_mtime_ns, after.st_ctime_ns)
    is_settled = age > SETTLED and _stamp(before) == _stamp(after)
    return _stamp(after) if is_settled else "", sha256


def _stamp(stat: os.stat_result) -> str:
    """Return what is another when the bytes are, if time has passed; nobody can set the time of change."""
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def _kept(ledger: Ledger, sources: Sequence[str]) -> dict[str, tuple[str, str]]:
    query = "SELECT source, stamp, sha256 FROM hashes WHERE source IN (SELECT value FROM json_each(?))"
    with ledger.transaction() as database:
        return {row[0]: (row[1], row[2]) for row in database.execute(query, (json.dumps(list(sources)),))}


def _keep(ledger: Ledger, fresh: Sequence[tuple[str, str, str]]) -> None:
    settled = [row for row in fresh if row[1]]
    if settled:
        with ledger.transaction() as database:
            database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", settled)
