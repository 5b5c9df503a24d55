"""Reads lists of numbers as legal texts write them: `6(1) and (2), 9 or 13 to 15`."""

import re
from collections.abc import Iterator

# White space is bounded everywhere: a hostile text must not make a match quadratic.
POINTS = r"(?:\s?\([0-9A-Za-z]{1,5}(?:-\d+)?\))"
"""One step inwards: `(1)`, `(f)`, `(b-1)`."""
_REMARK = r"(?:\s?\[[^\]\n]{1,40}\])?"
JOIN = _REMARK + r"(?:\s{0,2},?\s{0,2}(?:and|or|to|through)\s{1,2}|\s{0,2},\s{0,2}|\s?[–—]\s?)"
RANGE = re.compile(r"to|through|–|—")
MOST_IN_RANGE = 30
"""A longer range cites a part as a whole, and no passage in particular."""
ROMAN = tuple("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX".split())
_STEP = re.compile(r"\(([^)]*)\)")
_TAIL = re.compile(r"(.*?)(\d+)")


def listed(number: str) -> str:
    """Return the pattern of a list of things that `number` describes, each with its points."""
    item = rf"(?:{number}{POINTS}*|{POINTS}+)"
    return rf"{number}{POINTS}*(?:{JOIN}{item})*"


def places(text: str, number: re.Pattern[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each number of a list with the steps inwards, ranges written out.

    `(7)` after `6(6) or` is 6(7): it goes on at the depth of its kind.
    """
    item = re.compile(rf"(?P<number>{number.pattern})?(?P<points>{POINTS}*)")
    last: tuple[str, tuple[str, ...]] = ("", ())
    at = 0
    for match in item.finditer(text):
        if not match[0].strip():
            continue
        steps = tuple(_STEP.findall(match["points"]))
        found = (match["number"], steps) if match["number"] else (last[0], _beside(last[1], steps))
        if at and RANGE.search(text[at : match.start()]):
            yield from _between(last, found)
        yield found
        last, at = found, match.end()


def _beside(before: tuple[str, ...], steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return `steps` where they stand beside the last ones: (f) after 1, e is 1, f."""
    alike = [at for at, step in enumerate(before) if _kind(step) == _kind(steps[0])]
    return (*before[: alike[-1] if alike else len(before)], *steps)


def _between(
    first: tuple[str, tuple[str, ...]], last: tuple[str, tuple[str, ...]]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what lies between the ends of a range, where that can be counted."""
    if first[1] or last[1]:
        if first[0] == last[0] and first[1][:-1] == last[1][:-1] and len(first[1]) == len(last[1]):
            yield from (
                (first[0], (*first[1][:-1], step)) for step in _steps_between(first[1][-1], last[1][-1])
            )
    else:
        yield from ((number, ()) for number in _steps_between(first[0], last[0]))


def _steps_between(first: str, last: str) -> list[str]:
    """Return what is counted from `first` to `last`, without these two; nothing where that is unclear."""
    if (first in ROMAN and last in ROMAN and len(first) + len(last) > 2) or (first, last) == ("I", "V"):
        return list(ROMAN[ROMAN.index(first) + 1 : ROMAN.index(last)])
    if len(first) == len(last) == 1 and first.isalpha():
        return [chr(code) for code in range(ord(first) + 1, ord(last))]
    begin, end = _TAIL.fullmatch(first), _TAIL.fullmatch(last)
    if not begin or not end or begin[1] != end[1] or int(end[2]) - int(begin[2]) > MOST_IN_RANGE:
        return []
    width = len(begin[2]) if begin[2].startswith("0") else 0
    return [f"{begin[1]}{n:0{width}d}" for n in range(int(begin[2]) + 1, int(end[2]))]


def _kind(step: str) -> str:
    return "1" if step.isdigit() else "a" if step.islower() else "A"
