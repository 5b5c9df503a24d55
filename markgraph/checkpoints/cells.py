"""What every place of threads can say of them, so that they can be sealed and sealed anew."""

from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn, Protocol

from markgraph.errors import SealError

SEALED = "sealed/"
"""What the ids of sealed threads begin with; no thread of a caller does, see `thread_key`."""


class Cell(NamedTuple):
    """A value that is kept in a row of its own."""

    key: tuple[Any, ...]
    about: tuple[str, ...]
    """What it was sealed as."""
    value: bytes


class Cells(Protocol):
    """What a saver adds to LangGraph's interface."""

    whole: bool
    """Whether each checkpoint's row holds every value, and not just those that are new."""

    @property
    def place(self) -> str:
        """Return what errors call it."""

    def thread_ids(self, *, sealed: bool) -> Iterator[str]:
        """Yield the ids of threads, those that are sealed or the others."""

    def cells(self, thread: str) -> Iterator[Cell]:
        """Yield what a thread holds outside of its checkpoints' rows."""

    def replace(self, cell: Cell, value: bytes) -> None:
        """Replace what a cell holds, unless somebody else did."""

    def scrub(self) -> None:
        """Overwrite what was deleted."""


def refuse_without_keyring(place: str) -> NoReturn:
    """Say what to do about sealed threads."""
    raise SealError(
        f"The threads in {place} are sealed, and there is no keyring: seal=none. Set seal=keyring, for all "
        "commands alike."
    )
