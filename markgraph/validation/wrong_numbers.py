"""Finds numbers of a claim that its source does not give, or gives for something else."""

import re

from markgraph.text import words
from markgraph.validation.candidates import roots
from markgraph.validation.drafts import without_bullet
from markgraph.validation.quantities import REFERENCES, Quantity, quantities, without_numbers

# Where a number stops being about what was said: first sentences and points, then clauses.
_BORDERS = (
    re.compile(r";\s|(?<=[.!?:])\s+(?=[A-Z(])"),
    re.compile(r",\s|\b(?:and|but|or|while|whereas)\b"),
)
_LEAST = re.compile(
    r"(?:at least|minimum(?: of)?|(?:not|no) (?:less|fewer) than|more than|over|exceed\w*)\s*\S*\s*$"
)
_MOST = re.compile(
    r"(?:at most|maximum(?: of)?|up to|within|under|below|less than|fewer than"
    r"|(?:not|no) (?:more|later|longer) than|not exceed\w*|at the latest)\s*(?:at least\s*)?\S*\s*$"
)
_BEFORE = 40  # characters in which to look for them


def wrong_number(claim: str, source: str) -> str:
    """Return why a number of `claim` is not what `source` says, for a person to read; "" when all are.

    A number must stand in `source` with the same unit, and not beside words that fit the claim less than
    those beside another number of that unit.
    """
    source = without_bullet(source)
    said = roots(words(without_numbers(claim)))
    for wanted in quantities(claim):
        if not _gives(wanted, source):
            return f"the passage does not give {wanted.written}"
        # References come in lists: "Articles 5, 6 and 9, and Article 12".
        if wanted.unit and wanted.unit not in REFERENCES and _is_for_something_else(wanted, said, source):
            return f"the passage gives {wanted.written} for something else"
    return _other_bound(claim, source)


def _gives(wanted: Quantity, source: str) -> bool:
    for given in quantities(source):
        # "Deadline (hours): 72" has the unit, if not beside the number.
        apart = not given.unit and wanted.unit.lower() in source.lower()
        if wanted.value == given.value and (not wanted.unit or wanted.unit == given.unit or apart):
            return True
    return False


def _is_for_something_else(wanted: Quantity, said: frozenset[str], source: str) -> bool:
    for borders in _BORDERS:
        parts = [
            (len(said & roots(words(part))), wanted in quantities(part), part)
            for part in borders.split(source)
            if wanted.unit in {each.unit for each in quantities(part)}
        ]
        if not parts:
            return False
        _, fits, source = max(parts)
        if not fits:
            return True
    return False


def _other_bound(claim: str, source: str) -> str:
    said, given = _bounds(claim), _bounds(source)
    for quantity, bound in said.items():
        if given.get(quantity, bound) != bound:
            return f"says {bound} {quantity.written} where the passage says {given[quantity]}"
    return ""


def _bounds(text: str) -> dict[Quantity, str]:
    """Return the numbers in `text` that stand after "at least", "at most" or the like."""
    found = {}
    for quantity in quantities(text):
        before = text[max(0, quantity.start - _BEFORE) : quantity.start].lower()
        if bound := "at most" if _MOST.search(before) else "at least" if _LEAST.search(before) else "":
            found[quantity] = bound
    return found
