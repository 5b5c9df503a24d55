"""Tells which numbered paragraph and lettered point each part of an article or section belongs to."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter

from markgraph.citations.numbers import ROMAN

Label = tuple[str, ...]
"""Such as `("1", "f")` for Article 6(1)(f), or `("b", "2", "A")` for § 42-3505.01(b)(2)(A)."""

# A marker opens a line, or follows the end of a clause: in running text it is a reference.
_OPEN = r"(?:\A|\n[ \t]{0,20}|(?<=[;:.,—’”'\"])\s{1,2}(?:and\s|or\s)?|(?<=[^\s\d;:.,])\s{1,2}(?=1\.\s))"
_MARKER = re.compile(
    rf"{_OPEN}(?:(?P<number>\d{{1,3}}[a-z]?)\.(?=\s)|(?P<points>(?:\(\w{{1,5}}(?:-\d+)?\)\s?)+))"
)
_POINT = re.compile(r"\((\w{1,5}(?:-\d+)?)\)")
_FIRSTS = {"1": "(1)", "a": "(a)", "A": "(A)", "i": "(i)", "I": "(I)"}
_MOST_LEVELS = 5


def labels(text: str) -> list[tuple[int, Label]]:
    """Return where each paragraph or point of one section begins, with its label, in order.

    A marker counts when it follows the one before it in its series, or begins a series.
    """
    stack: list[tuple[str, str]] = []
    found: list[tuple[int, Label]] = [(0, ())]
    for offset, style, value in _markers(text):
        level = _level_of_successor(stack, style, value)
        if level is not None:
            stack[level:] = [(stack[level][0], value)]
        elif (first := _first(style, value)) and len(stack) < _MOST_LEVELS and first not in dict(stack):
            stack.append((first, value))
        else:
            continue
        found.append((offset, tuple(each for _, each in stack)))
    return found


def label_at(found: list[tuple[int, Label]], offset: int) -> Label:
    """Return the label of the paragraph or point that `offset` lies in."""
    at = bisect_right(found, offset, key=itemgetter(0))
    return found[at - 1][1] if at else ()


def _markers(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield offset, style and value of everything that looks like a marker."""
    for match in _MARKER.finditer(text):
        if match["number"]:
            yield match.start("number"), "1.", match["number"]
        elif match["points"]:
            for point in _POINT.finditer(match["points"]):
                yield match.start("points") + point.start(), "()", point[1]


def _level_of_successor(stack: list[tuple[str, str]], style: str, value: str) -> int | None:
    """Return the innermost level whose series `value` goes on."""
    for level in reversed(range(len(stack))):
        series, last = stack[level]
        if (series == "1.") == (style == "1.") and _follows(series, last, value):
            return level
    return None


def _first(style: str, value: str) -> str:
    """Return the series that `value` begins; empty if it begins none."""
    if style == "1.":
        return "1." if value == "1" else ""
    return _FIRSTS.get(value, "")


def _follows(series: str, last: str, value: str) -> bool:
    if value.partition("-")[0] == last.partition("-")[0] and "-" in value:  # (e-1) after (e)
        return True
    last = last.partition("-")[0]
    if series in ("(i)", "(I)"):
        return (last.lower(), value.lower()) in _ROMAN_STEPS and value.islower() == last.islower()
    if last[:1].isdigit():
        number, letter = re.findall(r"\d+|[a-z]", last)[0], last.lstrip("0123456789")
        return value in (str(int(number) + 1), number + (chr(ord(letter) + 1) if letter else "a"))
    return (len(last) == len(value) and value[:-1] == last[:-1] and ord(value[-1]) == ord(last[-1]) + 1) or (
        last.lower() == "z" and value == last * 2
    )


_ROMAN_STEPS = frozenset(pairwise(numeral.lower() for numeral in ROMAN))
