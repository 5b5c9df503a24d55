"""Finds cheap signs that a claim says otherwise than its source: negation, opposites, duty.

Does NOT include: swapped roles ("the processor informs the controller" for the reverse), and whatever takes
knowledge of the world to see.
"""

import re
from collections.abc import Callable

from markgraph.text import words

_WORD = re.compile(r"[\w'’-]+|[.;:,!?]")
# Negations that negate nothing.
_IDIOM = re.compile(
    r"\b(?:no[tr]?\s+(?:later|more|less|fewer|only|limited|exceed\w*|longer\s+than)|whether\s+or\s+not|if\s+not"
    r"|without\s+(?:prejudice|(?:\w+\s+){0,2}delay)|no\.\s*\d|no\s+doubt)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"(?:not|never|no|none|neither|nor|nobody|nothing|without|cannot|except|unless|\w+n['’]t)\b",
    re.IGNORECASE,
)
_SCOPE = 2  # words (stopwords not counted) after a negation that it may negate
_OPPOSITES = [
    tuple(frozenset(words(side)) for side in pair.split("/"))
    for pair in (
        "increase rise grow/decrease fall decline drop reduce",
        "maximum/minimum",
        "allow permit authorise/prohibit forbid ban",
        "accept approve/reject refuse deny",
        "win victory/lose defeat",
        "buy purchase/sell",
        "lend/borrow",
        "open/close",
        "start begin commence/end finish terminate expire",
        "first/last",
        "early/late",
        "high/low",
        "long/short",
        "large big/small",
        "old/young new",
        "hot/cold",
        "good/bad",
        "better/worse",
        "best/worst",
        "public/private",
        "direct/indirect",
        "internal/external",
        "mandatory compulsory/optional voluntary",
        "include/exclude",
        "join/leave",
        "love like/hate dislike",
        "agree/disagree",
        "succeed/fail",
        "man men boy male/woman women girl female",
        "father son brother husband/mother daughter sister wife",
        "indoors inside/outdoors outside",
        "sit/stand",
        "sleep/awake",
        "alive live/dead die",
        "north/south",
        "east/west",
        "left/right",
        "day/night",
        "winter/summer",
        "always/never",
        "plaintiff/defendant",
        "buyer/seller",
        "landlord lessor/tenant lessee",
        "employer/employee",
        "licensor/licensee",
        "debtor/creditor",
    )
]
_PREFIXES = {"un": 4, "non": 4, "dis": 5, "in": 6, "im": 6, "ir": 6, "il": 6}
"""Prefix -> the least letters that must follow."""
_MUST = re.compile(r"\b(?:must|shall|required?|requires|obliged|mandatory|has to|have to)\b", re.IGNORECASE)
_MAY = re.compile(r"\b(?:may|can|could|optional(?:ly)?|voluntar(?:y|ily))\b")


def contradiction(claim: str, source: str) -> str:
    """Return why `source` contradicts `claim`, for a person to read; "" when nothing shows."""
    checks: tuple[Callable[[str, str], str], ...] = (_negation, _opposites, _duty)
    return next((reason for check in checks if (reason := check(claim, source))), "")


def _negation(claim: str, source: str) -> str:
    denied, asserted = _denied(_IDIOM.sub(" ", claim))
    denied_there, asserted_there = _denied(_IDIOM.sub(" ", source))
    if denied and (not denied_there or (denied - denied_there) & asserted_there):
        return "denies what the passage does not deny"
    return "says what the passage denies" if asserted & (denied_there - asserted_there) else ""


def _denied(text: str) -> tuple[set[str], set[str]]:
    """Return the stems that stand shortly after a negation, and all others."""
    denied: set[str] = set()
    others: set[str] = set()
    left = 0
    for word in _WORD.findall(text):
        if _NEGATION.fullmatch(word):
            left = _SCOPE
        elif word in ".;:!?,":
            left = 0
        elif stems := words(word):
            (denied if left > 0 else others).update(stems)
            left -= 1
    return denied, others


def _opposites(claim: str, source: str) -> str:
    said, given = set(words(claim)), set(words(source))
    for one, other in _OPPOSITES:
        for here, there in ((one, other), (other, one)):
            if said & here and given & there and not said & there and not given & here:
                return f"says {min(said & here)!r} where the passage says {min(given & there)!r}"
    for word in said ^ given:
        for prefix, least in _PREFIXES.items():
            bare = word.removeprefix(prefix)
            if bare != word and len(bare) >= least and (bare in said) != (bare in given):
                return f"differs in {word!r}"
    return ""


def _duty(claim: str, source: str) -> str:
    if _MUST.search(claim) and _MAY.search(source) and not _MUST.search(source):
        return "says 'must' where the passage says 'may'"
    return ""
