"""Finds tables in a text: lines of cells with bars between them, as documents are read into."""

import re
from dataclasses import dataclass

_ROW = r"(?:[ \t]*\|[^\n]*|[^\n|]* \| [^\n]*)"
_TABLE = re.compile(rf"^{_ROW}(?:\n{_ROW})+$", re.MULTILINE)
_RULE = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+(?:[ \t]*:?-+:?[ \t]*)?")
LONGEST_HEADER = 250
"""Characters; a longer first row is no header that helps."""


@dataclass(frozen=True)
class Table:
    """Rows of cells, each on a line of its own."""

    rows: tuple[tuple[int, int], ...]
    """Start and end of each; a rule under the header belongs to it."""
    header: str
    """The cells of the first row, ` | ` between them; empty where they are too long."""

    @property
    def start(self) -> int:
        """Return the offset of the first row."""
        return self.rows[0][0]

    @property
    def edges(self) -> tuple[int, int]:
        """Return the offsets at which it begins, and at which the line behind it begins."""
        return self.start, self.rows[-1][1] + 1

    def continues_at(self, place: int) -> bool:
        """Tell whether a chunk that begins at `place` lacks the header."""
        return self.rows[0][1] <= place < self.rows[-1][1]


def find_tables(text: str) -> list[Table]:
    """Return the tables of `text` in order: two or more lines that begin with a bar or have ` | `."""
    return [_table(text, match.start(), match[0]) for match in _TABLE.finditer(text)] if "|" in text else []


def _table(text: str, start: int, block: str) -> Table:
    rows = []
    for line in block.split("\n"):
        rows.append((start, start + len(line)))
        start += len(line) + 1
    if _RULE.fullmatch(text, *rows[1]):
        rows[:2] = [(rows[0][0], rows[1][1])]
    first = text[rows[0][0] : rows[0][1]].split("\n", 1)[0]
    header = " | ".join(cell.strip() for cell in first.strip().strip("|").split("|"))
    return Table(tuple(rows), header if len(header) <= LONGEST_HEADER else "")
