"""Finds references to sections, paragraphs, and parts, as codes, contracts and European law write them."""

import re
from collections.abc import Iterator

from markgraph.citations.articles import OF_ACT, THEN, inner_steps, named_act, steps_before
from markgraph.citations.numbers import JOIN, POINTS, listed, places
from markgraph.citations.types import OWN, Reference

_QUANTITY = r"(?!\s?(?:%|per\s?cent|percent|days?\b|months?\b|years?\b|hours?\b|business\b|calendar\b))"
_NUMBER = (
    rf"\d{{1,4}}[A-Z]?(?:[-:]\d{{1,4}}[A-Z]?(?:-\d{{1,4}})?)?(?:\.\d{{1,4}}[a-z]?)*(?![\w/-]){_QUANTITY}"
)
_NUMBER_ALONE = re.compile(_NUMBER)
_CODE = re.compile(r"\b(\d{1,3}\s(?:U\.?\s?S\.?\s?C\.?(?:\s?A\.?)?|C\.?\s?F\.?\s?R\.?))\s\Z")
"""`15 U.S.C. ` before a section: another code than one's own."""
_LONGEST_CODE = 24
_SECTION = re.compile(
    rf"(?:§{{1,2}}|\b[Ss]ec(?:tions?\b|s?\.)|\b[Cc]lauses?\b)\s{{0,2}}"
    rf"(?P<list>{listed(_NUMBER)})(?P<then>{THEN}*)(?:{OF_ACT})?"
)
_POINT_LIST = rf"{POINTS}+(?:{JOIN}{POINTS}+)*"
_RELATIVE = re.compile(
    rf"\b(?P<word>[Ss]ub(?:section|paragraph|clause)s?|[Pp]aragraphs?|[Cc]lauses?|[Pp]oints?)\s?"
    rf"(?P<list>{POINTS}+(?:{JOIN}{POINTS}+)*|\d{{1,3}}[a-z]?\b(?:{JOIN}\d{{1,3}}[a-z]?\b)*)(?P<then>{THEN}*)"
    r"(?:\sof\sthis\s(?P<of>section|article|Article|subsection|paragraph)\b)?"
)
_BARE = re.compile(r"\d{1,3}[a-z]?\b")
_DEPTH = {"subsection": 0, "paragraph": 1, "point": 1, "clause": 1, "subparagraph": 2, "subclause": 3}
"""How many steps of its own label a relative reference keeps."""
_PART_NUMBER = r"(?:[IVXLC]+|\d{1,3}[A-Z]?|[A-Z])\b"
_PART = re.compile(
    r"\b(?P<word>Annex|Chapter|Subchapter|subchapter|Title|Part|Schedule|Appendix|Exhibit)(?:es|s|ices)?\s"
    rf"(?P<list>{listed(_PART_NUMBER)})(?:\sof\sTitle\s(?P<title>\d{{1,3}}))?(?:\sof\s(?P<this>this\s\w+))?"
    rf"(?:{OF_ACT})?"
)
_PART_NUMBER_ALONE = re.compile(_PART_NUMBER)
_THIS = re.compile(r"\b[Tt]his\s(?P<word>chapter|subchapter|title|part|annex|Chapter|Annex|Title|Part)\b")


def sections(text: str) -> Iterator[Reference]:
    """Yield the references of `text` to numbered sections and clauses."""
    for match in _SECTION.finditer(text):
        code = _CODE.search(text[max(0, match.start() - _LONGEST_CODE) : match.start()])
        act = " ".join(code[1].split()).lower() if code else named_act(match, []) or OWN
        within = steps_before(text, match.start())
        start = match.start() - len(code[0] if code else within)
        for number, steps in places(match["list"], _NUMBER_ALONE):
            for inner in inner_steps(within, match["then"]):
                yield Reference(start, match.end(), "section", act, (f"sec {number}", *steps, *inner))


def relatives(text: str) -> Iterator[Reference]:
    """Yield the references of `text` to a paragraph or point of the article or section they stand in."""
    for match in _RELATIVE.finditer(text):
        word = match["word"].lower().removesuffix("s")
        whole = match["of"] in ("section", "article", "Article") or match["list"][0].isdigit()
        within = steps_before(text, match.start())
        depth = 0 if whole or within else _DEPTH[word]
        up = (f"^{depth}",) if depth else ()
        for number, steps in places(match["list"], _BARE):
            for inner in inner_steps(within, match["then"]):
                place = (OWN, *up, *((number,) if number else ()), *steps, *inner)
                yield Reference(match.start() - len(within), match.end(), "paragraph", OWN, place)


def parts(text: str) -> Iterator[Reference]:
    """Yield the references of `text` to annexes, chapters and the like."""
    for match in _PART.finditer(text):
        outer = (f"title {match['title']}",) if match["title"] else ()
        act = OWN if match["this"] else named_act(match, []) or OWN
        for number, _ in places(match["list"], _PART_NUMBER_ALONE):
            place = (*outer, f"{match['word'].lower()} {number.lower()}")
            yield Reference(*match.span(), "part", act, place)
    for match in _THIS.finditer(text):
        yield Reference(*match.span(), "part", OWN, (match["word"].lower(),))
