"""Keeps the rows of a run sealed where there is a keyring: each line for its place in its file only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markgraph.errors import SealError
from markgraph.retrieval.bodies import from_text, to_text
from markgraph.retrieval.chunk_rows import is_outdated
from markgraph.retrieval.storage import write_whole
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

    def reseal(self, file: Path) -> int:
        """Seal lines in clear, or under an old key, and return how many; what can't be read stays."""
        if self.seal is None:
            return 0
        with file.open(encoding="utf-8") as kept:
            lines = list(kept)
        old = 0
        for number, line in enumerate(lines):
            sealed = from_text(line.rstrip("\n"))
            if not is_outdated(self.seal, self.tenant, sealed):
                continue
            about = self._about(file, number)
            plain = line if sealed is None else self.seal.open(self.tenant, about, sealed).decode()
            lines[number], old = self.line(file, number, plain), old + 1
        if old:
            write_whole(file, "".join(lines))
        return old

    def _about(self, file: Path, number: int) -> tuple[str, ...]:
        return ("training row", file.relative_to(self.runs).as_posix(), str(number))


def _wrong(file: Path, *, sealed: bool) -> SealError:
    if sealed:
        return SealError(
            f"The rows in {file} are sealed, and there is no keyring: seal=none. Go on with seal=keyring."
        )
    return SealError(
        f"The rows in {file} are not sealed, and seal=keyring takes no others. Run `markgraph keys reseal` "
        "once, begin another run, or go on with this one with seal=none."
    )
