"""Finds references to articles and acts, as European law, treaties and contracts write them."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain, product
from operator import itemgetter

from markgraph.citations.acts import NAMED, NUMBERED, act_key
from markgraph.citations.numbers import JOIN, POINTS, listed, places
from markgraph.citations.types import OWN, Reference

_POINT_LIST = rf"{POINTS}+(?:{JOIN}{POINTS}+)*"
_ORDINALS = r"(?:first|second|third|fourth|fifth|sixth|last)"
WITHIN = (
    rf"(?:(?:sub)?(?:section|paragraph|clause|point)s?\s(?:\d{{1,3}}[a-z]?\b|{_POINT_LIST})"
    rf"(?:\sof\sthe\s{_ORDINALS}\ssubparagraph)?\sof\s)"
)
"""`point (a) of `, which steps inwards from what follows it."""
THEN = rf"(?:,\s{_ORDINALS}\s(?:sub)?paragraph|,\spoints?\s?{_POINT_LIST})"
"""`, first subparagraph` or `, point (c)`, which steps inwards from what stands before it."""
OF_ACT = (
    rf",?\s(?:of|to|in|under)\s(?:the\s)?(?P<act>{NUMBERED}|{NAMED}"
    r"|th(?:at|is)\s(?:Regulation|Directive|Decision|Act|Agreement|Convention|Code))\b"
    r"|\s(?P<short>[A-Z]{2,}[A-Z0-9]*)\b(?!\s?[/(\d§])|\s(?P<thereof>thereof)\b"
)
_NUMBER = r"\d{1,3}[a-z]{0,2}(?![\w/])"
_ARTICLE = re.compile(rf"\bArt(?:icles?|s?\.)\s(?P<list>{listed(_NUMBER)})(?P<then>{THEN}*)(?:{OF_ACT})?")
_WITHIN_END = re.compile(rf"\b{WITHIN}{{1,4}}\Z")
_LONGEST_WITHIN = 120
_ACT = re.compile(rf"\b{NUMBERED}")
_ANOTHER_ACT = re.compile(r"(?:,\s|,?\sand\s|,?\sor\s)(\((?:EU|EC)\)\s(?:No\s)?\d{1,4}/\d{1,4})\b")
_NUMBER_ALONE = re.compile(_NUMBER)
_AND = re.compile(r"(?:,|\sand|\sor|,\sand|,\sor)\s\Z")


def articles(text: str) -> Iterator[Reference]:
    """Yield the references of `text` to articles; `that Regulation` is the act named last before it."""
    named = [(match.end(), act_key(match[0])) for match in _ACT.finditer(text)]
    found = [(match, named_act(match, named)) for match in _ARTICLE.finditer(text)]
    for at in range(len(found) - 2, -1, -1):  # Article 16 and Article 18 of Regulation ...: both are its
        (match, act), (after, later) = found[at : at + 2]
        if act is None and later and _AND.fullmatch(text[match.end() : after.start()]):
            found[at] = match, later
    for match, act in found:
        within = steps_before(text, match.start())
        for number, steps in places(match["list"], _NUMBER_ALONE):
            for inner in inner_steps(within, match["then"]):
                place = (f"art {number}", *steps, *inner)
                yield Reference(match.start() - len(within), match.end(), "article", act or OWN, place)


def acts(text: str) -> Iterator[Reference]:
    """Yield the references of `text` to acts as a whole."""
    for match in _ACT.finditer(text):
        yield Reference(match.start(), match.end(), "act", act_key(match[0]), ())
        another = _ANOTHER_ACT.match(text, match.end())
        while another:  # Regulations (EU) 2016/679 and (EU) 2018/1725
            name = f"{match[0].partition(' ')[0]} {another[1]}"
            yield Reference(another.start(1), another.end(), "act", act_key(name), ())
            another = _ANOTHER_ACT.match(text, another.end())


def named_act(match: re.Match[str], named: list[tuple[int, str]]) -> str | None:
    """Return the act that a match of `OF_ACT` names: `OWN` for this one, None where it names none.

    Args:
        match: of a pattern that ends with `OF_ACT`, and whose number is the group `list`.
        named: where acts are named in the text, in order: the ends, with their keys.
    """
    name = match["act"] or match["short"]
    if match["thereof"] or (name and name.startswith("that ")):
        before = bisect_right(named, match.start("list"), key=itemgetter(0))
        return named[before - 1][1] if before else OWN
    if name and name.startswith("this "):
        return OWN
    return act_key(name) if name else None


def steps_before(text: str, start: int) -> str:
    """Return `point (a) of paragraph 1 of ` where that stands before `start`; empty where it doesn't.

    Looking back from what was found is many times faster than to look for it everywhere.
    """
    before = text[max(0, start - _LONGEST_WITHIN) : start]
    match = _WITHIN_END.search(before) if before.endswith(("of ", "of\n")) else None
    return match[0] if match else ""


def inner_steps(within: str, then: str) -> Iterator[tuple[str, ...]]:
    """Yield the steps inwards before and behind a number: `point (a) of paragraph 1 of` is 1, a."""
    levels = [_steps(part) for part in reversed(within.split(" of "))]
    levels += [_steps(part) for part in then.split(", ") if "paragraph" not in part]
    for steps in product(*filter(None, levels)):
        yield tuple(chain.from_iterable(steps))


def _steps(part: str) -> list[tuple[str, ...]]:
    """Return the steps of `points (a) to (c)` or `paragraph 1`, each with those inwards of it."""
    return [((number,) if number else ()) + steps for number, steps in places(part, _NUMBER_ALONE)]
