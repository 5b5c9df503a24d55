"""Computes the automatic numbers of Word's paragraphs, which its files hold only as rules: 4.2, (a), III.

Writes formats that it does not know, as Chinese counting or `one, two`, in digits. After ECMA-376-1, 17.9.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from docx.oxml.ns import qn

from markgraph.documents.numerals import letters, ordinal, roman

_ID, _LEVEL, _NUMBER, _VALUE = qn("w:numId"), qn("w:ilvl"), qn("w:numPr"), qn("w:val")
_PLACE = re.compile(r"%([1-9])")
_KINDS: dict[str, Callable[[int], str]] = {
    "decimalZero": "{:02}".format,
    "lowerLetter": letters,
    "upperLetter": lambda number: letters(number).upper(),
    "lowerRoman": roman,
    "upperRoman": lambda number: roman(number).upper(),
    "ordinal": ordinal,
    "none": lambda _: "",
}


@dataclass(frozen=True)
class _Level:
    """How the paragraphs of one level of a list are numbered."""

    start: int = 1
    kind: str = "decimal"
    pattern: str = ""
    """`%1.%2`: the numbers of this level and of those around it."""
    gap: str = " "
    style: str = ""
    """The paragraph style that is numbered by this level."""
    restart: int = 9
    """It starts again after a paragraph of a level before this one, counted from 0."""
    is_legal: bool = False
    """Whether all its numbers are in digits: `1.2` within `Article I`."""


@dataclass(frozen=True)
class _List:
    """A use of a list definition; those of one definition count on."""

    definition: str
    levels: dict[int, _Level]
    restarts: frozenset[int]
    """The levels that start again where this use begins."""


class Numbering:
    """Numbers the paragraphs of one document, asked for in their order."""

    def __init__(self, numbering: Any, styles: Any) -> None:
        """Read the roots of `numbering.xml`, None where there is none, and of `styles.xml`."""
        self._styles = _styles(styles)
        self._lists = _lists(numbering, self._styles) if numbering is not None else {}
        self._counts: dict[str, dict[int, int]] = {}
        self._begun: set[str] = set()

    def count(self, paragraph: Any) -> str | None:
        """Return what stands before a paragraph, its gap included: `4.2 `, `- `; None where nothing does."""
        list_id, level = self._place(paragraph)
        found = self._lists.get(list_id)
        if found is None or level not in found.levels:
            return None
        counts = self._counts.setdefault(found.definition, {})
        if list_id not in self._begun:
            self._begun.add(list_id)
            for restarted in found.restarts:
                counts.pop(restarted, None)
        counts[level] = counts[level] + 1 if level in counts else found.levels[level].start
        for deeper in [each for each in counts if each > level]:
            if level < (found.levels[deeper].restart if deeper in found.levels else deeper):
                del counts[deeper]
        return _written(found.levels, counts, level)

    def _place(self, paragraph: Any) -> tuple[str, int]:
        """Return the list and the level of a paragraph: its own, else those of its style."""
        style = paragraph.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
        style_id = style.get(_VALUE, "") if style is not None else ""
        list_id, level = self._styles.get(style_id, ("", None))
        own_list, own_level = _pair(paragraph.find(f"{qn('w:pPr')}/{_NUMBER}"))
        if not own_list and list_id in self._lists:
            levels = self._lists[list_id].levels
            level = next((each for each in levels if style_id and levels[each].style == style_id), level)
        return own_list or list_id, (own_level if own_level is not None else level) or 0


def _written(levels: dict[int, _Level], counts: dict[int, int], at: int) -> str:
    """Return the number of level `at` as it is displayed."""
    rule = levels[at]
    if rule.kind == "bullet":
        return "- "

    def number(match: re.Match[str]) -> str:
        level = int(match[1]) - 1
        other = levels.get(level, _Level())
        count = counts.get(level, other.start)
        return str(count) if rule.is_legal else _KINDS.get(other.kind, str)(count)

    text = _PLACE.sub(number, rule.pattern)
    return text + rule.gap if text.strip() else ""


def _lists(numbering: Any, styles: dict[str, tuple[str, int | None]]) -> dict[str, _List]:
    """Return the lists of `numbering.xml` by their id."""
    definitions = {
        each.get(qn("w:abstractNumId")): each for each in numbering.iterchildren(qn("w:abstractNum"))
    }
    uses = {each.get(_ID): each for each in numbering.iterchildren(qn("w:num"))}
    lists = {}
    for list_id, use in uses.items():
        definition = _text(use, "w:abstractNumId")
        link = _text(definitions[definition], "w:numStyleLink") if definition in definitions else ""
        if link in styles:  # the definition stands elsewhere: with the list of a style
            definition = _text(uses.get(styles[link][0]), "w:abstractNumId", definition)
        levels = dict(_levels(definitions.get(definition)))
        restarts = set()
        for override in use.iterchildren(qn("w:lvlOverride")):
            levels |= _levels(override)
            level, start = int(override.get(_LEVEL)), _text(override, "w:startOverride")
            if start:
                levels[level] = replace(levels.get(level, _Level()), start=int(start))
                restarts.add(level)
        lists[list_id] = _List(definition, levels, frozenset(restarts))
    return lists


def _levels(holder: Any) -> dict[int, _Level]:
    """Return the levels of a list definition, or those that a use of it overrides."""
    levels = {}
    for each in holder.iterchildren(qn("w:lvl")) if holder is not None else ():
        level = int(each.get(_LEVEL))
        is_hidden = each.find(f"{qn('w:rPr')}/{qn('w:vanish')}") is not None
        levels[level] = _Level(
            start=int(_text(each, "w:start", "0")),
            kind=_text(each, "w:numFmt", "decimal"),
            pattern="" if is_hidden else _text(each, "w:lvlText"),
            gap="" if _text(each, "w:suff") == "nothing" else " ",
            style=_text(each, "w:pStyle"),
            restart=int(_text(each, "w:lvlRestart", str(level))),
            is_legal=each.find(qn("w:isLgl")) is not None,
        )
    return levels


def _styles(styles: Any) -> dict[str, tuple[str, int | None]]:
    """Return the list and the level of each style that has any; it inherits them."""
    elements = {each.get(qn("w:styleId")): each for each in styles.iterchildren(qn("w:style"))}
    found = {}
    for style_id, element in elements.items():
        list_id, level, seen = "", None, set()
        while element is not None and element not in seen:  # styles of a damaged file inherit in a ring
            seen.add(element)
            its_list, its_level = _pair(element.find(f"{qn('w:pPr')}/{_NUMBER}"))
            list_id, level = list_id or its_list, level if level is not None else its_level
            element = elements.get(_text(element, "w:basedOn"))
        if list_id:
            found[style_id] = (list_id, level)
    return found


def _pair(properties: Any) -> tuple[str, int | None]:
    """Return the list and the level that a `w:numPr` names."""
    level = _text(properties, "w:ilvl")
    return _text(properties, "w:numId"), int(level) if level else None


def _text(element: Any, name: str, default: str = "") -> str:
    """Return the value of a child of `element`."""
    child = element.find(qn(name)) if element is not None else None
    return str(child.get(_VALUE, default)) if child is not None else default
