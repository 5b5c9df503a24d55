"""Words, numbers and sentences of a text, the same way for retrieval and for validation."""

import re
from functools import lru_cache

import snowballstemmer

HALF = re.compile("[\ud800-\udfff]")
"""Halves of characters beyond the first 65,536, which JSON can hold and no tokenizer can read."""
LONGEST_QUESTION = 8000
"""Characters; to go through a longer one takes time that nobody is charged for."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_STOPWORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each few for from further had has
    have having he her here hers him his how i if in into is it its itself just me might more most
    must my no nor not of off on once only or other our out over own s same shall she should so some
    such t than that the their them then there these they this those through to too under until up
    upon very was we were what when where which while who whom whose why will with within without
    would you your""".split()
)
# A full stop after these ends no sentence ...
_TITLES = frozenset("""dr mr mrs ms prof st gen hon rev e.g i.e eg ie cf vs v viz approx incl resp""".split())
# ... after these not when a number follows ("Art. 5", but: He said no. Then ...) ...
_NUMBERED = frozenset(
    "art arts no nos para paras p pp vol fig sec secs ch cl reg dir ann cap ed ref sch subs tit pt".split()
)
# ... and after these, and after initials ("U.S."), only when the next word is one that opens sentences.
_TRAILING = frozenset(
    ["inc", "ltd", "co", "corp", "etc", "al", "jr", "sr", "llc", "plc", "dept", "est", "a.m", "p.m", "ph.d"]
)
_OPENERS = frozenset(
    """a all although an and any as at but by each every for he her his however i if in it its no on or our
    she since such that the their there these they this those to under we what when where while who
    you your""".split()
)
_NUMERAL = re.compile(r"[(\[]?(?:\d|[IVXivx]+\b)")
# "1.", "(a).", "3.2.", "Section 4.", "§ 28-3502." at the start of a unit belong to what follows.
_ENUMERATOR = re.compile(
    r"(?:(?:article|art|section|sec|clause|§+)\s{0,3})?\(?(?:\d{1,4}(?:[-.]\d{1,4}){0,3}|[a-z]|[ivx]{1,5})\)?",
    re.IGNORECASE,
)
_BREAK = re.compile(
    r"""
    (?P<line>\n\s*\n|\n(?=\s*(?:[-*•–>]\s|[|\#]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{2,5})[.)]\s))|(?<=\|)\s*\n
        |^\#[^\n]*\n)
    | (?P<stop>[.!?…])["'”’»)\]]*(?=\s+(?P<next>\S{1,16}))
    | (?P<first>(?<=\w)\s+(?=1\.\s+[A-Z‘“"]))  # "Subject-matter 1. This Regulation": the newline got lost
    """,
    re.VERBOSE | re.MULTILINE,
)
_SPACE = re.compile(r"\s*")
_HEADING_LENGTH = 200
# Nearly every "... Article 1. The ..." names the kind of the thing before its number.
_COUNTED = frozenset(
    [
        "article",
        "annex",
        "section",
        "paragraph",
        "point",
        "chapter",
        "title",
        "part",
        "no",
        "number",
        "and",
        "or",
        "to",
        "of",
    ]
)
# "...: (a) ...; (b) ..., and (c) ...", but not "points (a), (b) and (c)"
_POINT = re.compile(r"(?:(?<=[:;.—–])|(?<=[a-z],))\s+(?:(?:and|or)\s+)?(?=\((?:[A-Za-z]{1,3}|\d{1,2})\)\s)")
_LONG = 250  # characters: a shorter list reads better in one piece


@lru_cache(maxsize=65536)
def is_question(text: object) -> bool:
    """Tell whether something can be asked: text that says something, every character whole."""
    if not isinstance(text, str) or len(text) > LONGEST_QUESTION:
        return False
    return bool(text.strip()) and not HALF.search(text)


def _stem(word: str) -> str:
    stem: str = snowballstemmer.stemmer("english").stemWord(word)
    return stem


def words(text: str) -> list[str]:
    """Return the stemmed words of `text` in order, without stopwords."""
    return [_stem(word) for word in map(str.lower, _WORD.findall(text)) if word not in _STOPWORDS]


def numbers(text: str) -> set[str]:
    """Return the numbers in `text` as they are written, thousands separators removed."""
    return {re.sub(r"[.,](?=\d{3}\b)", "", match.group()) for match in _NUMBER.finditer(text)}


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each sentence of `text`, in order; only whitespace lies between them.

    Bullets, table rows and headings stand alone. In a list longer than `_LONG` characters so do the lead-in
    and each of its points. Not for scripts that put no space between sentences.
    """
    spans = []
    for start, end in _stretches(text):
        cuts = [match.end() for match in _POINT.finditer(text, start, end)] if end - start > _LONG else []
        spans += [_strip(text, *span) for span in zip([start, *cuts], [*cuts, end], strict=True)]
    return spans


def _stretches(text: str) -> list[tuple[int, int]]:
    """Cut at full stops and at telling newlines."""
    spans, start = [], _skip_space(text, 0)
    for match in _BREAK.finditer(text):
        if start < match.end() and _is_break(text, start, match):
            spans.append(_strip(text, start, match.end()))
            start = _skip_space(text, match.end())
    return [*spans, _strip(text, start, len(text))] if start < len(text) else spans


def _skip_space(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _is_break(text: str, start: int, match: re.Match[str]) -> bool:
    """Tell whether `match` ends the sentence that begins at `start`."""
    if match["line"]:
        return True
    tail = text[max(start, match.start() - 24) : match.start()]
    word = (tail.split() or [""])[-1].lstrip("([\"'“‘").lower()
    if match["first"]:
        opens = start == 0 or "\n" in text[max(0, start - 4) : start]
        return opens and match.start() - start < _HEADING_LENGTH and word not in _COUNTED
    following = match["next"]
    if following[0].islower() or following[0] in ".!?…,;:)":
        return False
    if match["stop"] != ".":
        return True
    return _ends_sentence(word, following) and not (
        match.start() - start < 24 and _ENUMERATOR.fullmatch(text, start, match.start())
    )


def _ends_sentence(word: str, following: str) -> bool:
    """Tell whether a full stop between `word` and `following` ends a sentence."""
    if word in _TITLES:
        return False
    if word in _NUMBERED:
        return not _NUMERAL.match(following)
    if word in _TRAILING or re.fullmatch(r"(?:[^\W\d_]\.)*[^\W\d_]", word):
        return following.strip("“‘\"'(,").lower() in _OPENERS
    return True
