"""Finds rows that say nearly the same, with MinHash (Broder 1997) and locality-sensitive hashing.

Two rows are near-duplicates if three things are alike in both: what is asked last, what is to be learned, and
the whole. Questions on one passage differ in the first, answers to one question in the second, and equal
questions on other passages in the last. What must not be blurred, such as a thumb up or down, must be equal.
"""

import re
from itertools import islice
from typing import Any
from zlib import crc32

from markgraph.errors import ConfigError, MissingExtraError
from markgraph.training.rows import Row

WORDS = 3
"""Words of a shingle."""
PERMUTATIONS = 128
_MISSES = (0.1, 0.9)
"""Whatever shares a bucket is compared; what shares none is lost: so that counts for more."""
_WORD = re.compile(r"[^\W_]+")
_LEARNED = ("completion", "chosen", "rejected", "positive", "hypothesis")
_ASKED = ("query", "premise", "text")
_EXACT = ("good", "label", "reference")


class NearDuplicates:
    """Remembers the rows that were kept: about 2 kB each."""

    def __init__(self, similar: float) -> None:
        """Take the part of their shingles, by Jaccard's measure, that near-duplicates have in common."""
        if not 0.5 <= similar <= 1:
            raise ConfigError(f"similar is {similar}. Allowed: 0.5 to 1, or null to keep near-duplicates.")
        self._similar = similar
        self._library = _datasketch()
        self._known = [self._library.MinHashLSH(similar, PERMUTATIONS, weights=_MISSES) for _ in range(2)]
        self._signatures: dict[str, tuple[Any, ...]] = {}

    def add(self, row: Row) -> str | None:
        """Return the id of a row that says nearly the same, or else keep this one in mind."""
        texts = parts(row)
        exact = [row.get(name) for name in _EXACT]
        signatures = tuple(self._signature(text, exact) for text in texts)
        asked_like, whole_like = (
            set(known.query(signatures[at])) for known, at in zip(self._known, (0, 2), strict=True)
        )
        alike: list[str] = sorted(asked_like & whole_like)
        for other in alike:
            if all(
                mine.jaccard(theirs) >= self._similar
                for mine, theirs in zip(signatures, self._signatures[other], strict=True)
            ):
                return other
        for known, at in zip(self._known, (0, 2), strict=True):
            known.insert(row["id"], signatures[at])
        self._signatures[row["id"]] = signatures
        return None

    def _signature(self, text: str, exact: object) -> Any:
        made = self._library.MinHash(PERMUTATIONS, hashfunc=crc32)
        made.update_batch([f"{exact} {shingle}".encode() for shingle in shingles(text)])
        return made


def parts(row: Row) -> tuple[str, str, str]:
    """Return what is asked last, what is to be learned, and both with all that goes before."""
    before = [turn["content"] for turn in row.get("messages", [])]
    asked = [row[name] for name in _ASKED if name in row]  # type: ignore[literal-required]
    last = [before[-1].rpartition("\n\n")[2]] if before else asked
    learned = [row[name] for name in _LEARNED if name in row]  # type: ignore[literal-required]
    return "\n".join(last), "\n".join(learned), "\n".join([*before, *asked, *learned])


def shingles(text: str) -> set[str]:
    """Return each `WORDS` neighbouring words of `text`, whatever is between them and however written."""
    words = _WORD.findall(text.lower())
    if len(words) < WORDS:
        return {" ".join(words)}
    return {" ".join(each) for each in zip(*(islice(words, at, None) for at in range(WORDS)), strict=False)}


def _datasketch() -> Any:
    try:
        import datasketch
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Near-duplicates are found by datasketch. Install it: pip install 'markgraph[train]', or keep "
            "them: similar=null."
        ) from error
    return datasketch
