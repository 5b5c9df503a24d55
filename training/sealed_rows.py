"""Keeps the rows of a run sealed where there is a keyring: each line for its place in its file only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markgraph.errors import SealError
from markgraph.retrieval.bodies import from_text, to_text
from markgraph.security.sealing.keyring import Keyring


@dataclass(frozen=True)
class SealedRows:
    """Seals and opens lines of files of rows, or passes them on as they are."""

    runs: Path
    """The folder of all runs: files are told apart by where they are below it, wherever that is."""
    tenant: str
    """Whose key it is done with: that of whoever began the run."""
    seal: Keyring | None

    def line(self, file: Path, number: int, plain: str) -> str:
        """Return a line as it is kept; both end with a line feed."""
        if self.seal is None:
            return plain
        return to_text(self.seal.seal(self.tenant, self._about(file, number), plain.encode())) + "\n"

    def lines(self, file: Path) -> Iterator[str]:
        """Yield the lines that were kept in a file.

        Raises:
            SealError: they are sealed where there is no keyring, or the other way round, or don't open.
        """
        with file.open(encoding="utf-8") as kept:
            for number, line in enumerate(kept):
                sealed = from_text(line.rstrip("\n"))
                if (sealed is None) is not (self.seal is None):
                    raise _wrong(file, sealed=sealed is not None)
                plain = line
                if self.seal is not None:
                    plain = self.seal.open(self.tenant, self._about(file, number), sealed).decode()
                yield plain

    def _about(self, file: Path, number: int) -> tuple[str, ...]:
        return ("training row", file.relative_to(self.runs).as_posix(), str(number))


def _wrong(file: Path, *, sealed: bool) -> SealError:
    if sealed:
        return SealError(
            f"The rows in {file} are sealed, and there is no keyring: seal=none. Go on with seal=keyring."
        )
    return SealError(
        f"The rows in {file} are not sealed, and seal=keyring takes no others. Begin another run, or go on "
        "with this one with seal=none."
    )
