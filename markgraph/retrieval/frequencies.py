"""Keeps how often which word is in which chunk, as matrices of bm25s that processes map into memory."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Self, TypeAlias

import bm25s
import numpy as np
import numpy.typing as npt

_LOGGER = logging.getLogger("bm25s")
if _LOGGER.level == logging.DEBUG:  # bm25s sets that when it is imported: let the application decide
    _LOGGER.setLevel(logging.NOTSET)

Array: TypeAlias = npt.NDArray[Any]
BLOCK = 1 << 22
"""About how many occurrences a merge moves at once."""
GONE = 0
"""The permission number of what was removed: nobody's."""


class FrequencyMatrix(bm25s.BM25):  # type: ignore[misc]  # bm25s has no types
    """A matrix of bm25s that holds how often a word is in a chunk, where bm25s has finished scores.

    Scores would have the number of chunks, and how many of them have a word, worked in: hidden ones, too.
    """

    nonoccurrence_array = None

    def build_index_from_ids(
        self, unique_token_ids: list[int], corpus_token_ids: list[list[int]], **_: bool
    ) -> dict[str, Any]:
        """Return the matrix in columns: `indptr` (words + 1,), `indices` and `data` (occurrences,)."""
        n = len(corpus_token_ids)
        chunks = np.repeat(np.arange(n), [len(ids) for ids in corpus_token_ids])
        terms = np.fromiter(chain.from_iterable(corpus_token_ids), np.int64, len(chunks))
        cells, counts = np.unique(terms * n + chunks, return_counts=True)
        sizes = np.bincount(cells // n, minlength=len(unique_token_ids))
        return {
            "data": counts.astype(np.float32),
            "indices": (cells % n).astype(np.int32),
            "indptr": np.concatenate([[0], np.cumsum(sizes)]),
            "num_docs": n,
        }


@dataclass(frozen=True)
class Segment:
    """Some chunks in the order of their positions: what is in them, how long they are, who may read them."""

    matrix: FrequencyMatrix
    positions: Array
    """Positions in the chunk store, ascending: (chunks,) int64."""
    lengths: Array
    """Numbers of words: (chunks,) int32."""
    permissions: Array
    """Numbers of permissions: (chunks,) int32. The one thing that changes."""

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, str]]) -> Self:
        """Return a segment of (position, permission, words) rows."""
        stems = [text.split() for _, _, text in rows]
        matrix = FrequencyMatrix()
        matrix.index(stems, create_empty_token=False, show_progress=False)
        return cls(
            matrix,
            np.array([position for position, _, _ in rows], np.int64),
            np.array([len(each) for each in stems], np.int32),
            np.array([permission for _, permission, _ in rows], np.int32),
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map what `save` wrote into memory.

        Raises:
            OSError: it isn't there.
            ValueError: it is damaged.
        """
        matrix = FrequencyMatrix.load(folder, mmap=True)
        for name in ("data", "indices", "indptr"):
            matrix.scores[name] = np.asarray(matrix.scores[name])  # as a plain array, slices cost less
        positions, lengths = (
            np.load(folder / name, mmap_mode="r") for name in ("positions.npy", "lengths.npy")
        )
        permissions = np.load(folder / "permissions.npy")
        data, indices, indptr = (matrix.scores[name] for name in ("data", "indices", "indptr"))
        if not (len(positions) == len(lengths) == len(permissions) == matrix.scores["num_docs"]) or not (
            len(data) == len(indices) == indptr[-1] and len(indptr) == len(matrix.vocab_dict) + 1
        ):
            raise ValueError(f"The parts of {folder} do not fit together.")
        return cls(matrix, positions, lengths, permissions)

    def save(self, folder: Path) -> None:
        """Write it to a new folder, down to the disk."""
        self.matrix.save(folder, show_progress=False)
        for name in ("positions", "lengths", "permissions"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        for path in (*folder.iterdir(), folder, folder.parent):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def copy(self) -> "Segment":
        """Return it as it is now: later changes of permissions leave the copy alone."""
        return replace(self, permissions=self.permissions.copy())

    def permit(self, position: int, permission: int) -> None:
        """Change who may read the chunk at `position`; one that isn't here is ignored."""
        at = int(np.searchsorted(self.positions, position))
        if at < len(self) and self.positions[at] == position:
            self.permissions[at] = permission

    def occurrences(self, word: str) -> tuple[Array, Array]:
        """Return which chunks have `word`, and how often: (matches,) each."""
        scores = self.matrix.scores
        at = self.matrix.vocab_dict.get(word)
        span = slice(0, 0) if at is None else slice(scores["indptr"][at], scores["indptr"][at + 1])
        return scores["indices"][span].astype(np.intp), scores["data"][span]

    def __len__(self) -> int:
        """Return how many chunks it has, removed ones among them."""
        return len(self.positions)


def merge(segments: Sequence[Segment]) -> Segment:
    """Return one segment of all chunks that were not removed, in time linear in the occurrences."""
    kept = [segment.permissions != GONE for segment in segments]
    sizes = [_sizes(segment, alive) for segment, alive in zip(segments, kept, strict=True)]
    vocabulary: dict[str, int] = {}
    for segment, counts in zip(segments, sizes, strict=True):
        for word, at in segment.matrix.vocab_dict.items():
            if counts[at]:  # a word that only removed chunks had is forgotten
                vocabulary.setdefault(word, len(vocabulary))
    matrix = FrequencyMatrix()
    matrix.vocab_dict = vocabulary
    matrix.scores = _merged(segments, kept, sizes, vocabulary)
    return Segment(
        matrix,
        *(
            np.concatenate([getattr(each, name)[alive] for each, alive in zip(segments, kept, strict=True)])
            for name in ("positions", "lengths", "permissions")
        ),
    )


def _merged(
    segments: Sequence[Segment], kept: Sequence[Array], sizes: Sequence[Array], vocabulary: dict[str, int]
) -> dict[str, Any]:
    """Return the matrix over all: each column is that of the first segment, then that of the next, ..."""
    places = [_places(segment, vocabulary) for segment in segments]
    widths = np.zeros(len(vocabulary) + 1, np.int64)  # the last is for words that are forgotten
    for place, counts in zip(places, sizes, strict=True):
        widths[place] += counts
    indptr = np.concatenate([[0], np.cumsum(widths[:-1])])
    data, indices = np.empty(indptr[-1], np.float32), np.empty(indptr[-1], np.int32)
    filled, chunks = indptr.copy(), 0
    for segment, alive, counts, place in zip(segments, kept, sizes, places, strict=True):
        numbers = (np.cumsum(alive) - 1 + chunks).astype(np.int32)
        for columns, span in _blocks(segment):
            found = segment.matrix.scores["indices"][span]
            chosen, here = alive[found], counts[columns]
            target = np.repeat(filled[place[columns]] - np.cumsum(here) + here, here) + np.arange(here.sum())
            data[target] = segment.matrix.scores["data"][span][chosen]
            indices[target] = numbers[found[chosen]]
        filled[place] += counts
        chunks += int(alive.sum())
    return {"data": data, "indices": indices, "indptr": indptr, "num_docs": chunks}


def _sizes(segment: Segment, kept: Array) -> Array:
    """Return in how many of the chunks that are kept each word is: (words,)."""
    indices, indptr = segment.matrix.scores["indices"], segment.matrix.scores["indptr"]
    sizes = np.zeros(len(indptr) - 1, np.int64)
    for columns, span in _blocks(segment):
        seen = np.concatenate([[0], np.cumsum(kept[indices[span]])])
        ends = indptr[columns.start : columns.stop + 1] - indptr[columns.start]
        sizes[columns] = np.diff(seen[ends])
    return sizes


def _places(segment: Segment, vocabulary: dict[str, int]) -> Array:
    """Return the column of each of its words in the merged matrix: (words,)."""
    places = np.full(len(segment.matrix.vocab_dict), len(vocabulary), np.int64)
    for word, at in segment.matrix.vocab_dict.items():
        places[at] = vocabulary.get(word, len(vocabulary))
    return places


def _blocks(segment: Segment) -> Iterator[tuple[slice, slice]]:
    """Yield ranges of columns, and the occurrences in them: so many at once that memory stays small."""
    indptr = segment.matrix.scores["indptr"]
    starts = np.searchsorted(indptr, np.arange(0, indptr[-1], BLOCK), side="right") - 1
    edges = np.unique([*starts, len(indptr) - 1])
    for first, last in pairwise(edges.tolist()):
        yield slice(first, last), slice(int(indptr[first]), int(indptr[last]))
