"""Finds where a text defines its terms, and where it uses them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_TERM = r"[^\W_][^‘’“”\"\n]{1,58}?[^\W_]\)?"
_QUOTED = rf"(?:‘({_TERM})’|“({_TERM})”|\"({_TERM})\"|(?<!\w)'({_TERM})'(?!\w)|\*\*({_TERM})\*\*)"
_VERB = (
    r"(?:means?|shall\smean|(?:has|have|shall\shave)\sthe\s(?:same\s)?meanings?|refers?\sto|(?:is|are)\sdefined"
    r"|includes?)\b"
)
_RELATION = r"(?:in\srelation\sto|with\srespect\sto|when\sused)[^,‘“\"\n]{1,80}"
_MEANS = re.compile(rf"{_QUOTED}(?:,?\s?(?:or|and)\s{_QUOTED})?(?:,?\s{_RELATION},?|,)?\s{_VERB}")
_BRACKETED = re.compile(
    rf"\((?:(?:each|together|collectively|hereinafter|hereafter),?\s)*(?:(?:an?|the|this|referred\sto\sas|as)\s)*{_QUOTED}"
    rf"(?:\s(?:or|and)\s(?:the\s)?{_QUOTED})?\)"
)


@dataclass(frozen=True)
class Definition:
    """A stretch of text that defines a term."""

    start: int
    end: int
    term: str


def definitions(text: str) -> Iterator[Definition]:
    """Yield the definitions of `text`: `‘Term’ means`, `(the "Term")`.

    A single word without a capital is left out: every other sentence would use it.
    """
    for pattern, wants_capital in ((_MEANS, False), (_BRACKETED, True)):
        for match in pattern.finditer(text):
            for term in filter(None, match.groups()):
                capital = any(letter.isupper() for letter in term)
                if capital or (" " in term and not wants_capital):
                    yield Definition(match.start(), match.end(), " ".join(term.split()))


def uses(text: str, term: str) -> bool:
    """Tell whether `text` has the term, word for word; a single word also with its capital."""
    return _pattern(term).search(text) is not None


@lru_cache(maxsize=4096)
def _pattern(term: str) -> re.Pattern[str]:
    words = r"\s+".join(map(re.escape, term.split()))
    return re.compile(rf"(?<!\w){words}(?:s|es)?(?!\w)", re.IGNORECASE if " " in term else 0)
