"""Cuts streams into pieces that fit into memory."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(stream: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size`, the last of which may be shorter."""
    rest = iter(stream)
    while batch := list(islice(rest, size)):
        yield batch
