"""Tells what kind of answer a question asks for, and whether a sentence has one."""

import re
from collections.abc import Callable

from markgraph.text import words
from markgraph.validation.quantities import DURATIONS, MONEY, REFERENCES, Quantity, quantities

_COUNTED = re.compile(r"\bhow many (\w+)", re.IGNORECASE)
_DURATION = re.compile(
    r"\bhow (?:long|soon|quickly|old)\b|\b(?:what age|what time)\b|\b(?:period|deadline|time limit)\b",
    re.IGNORECASE,
)
_FREQUENCY = re.compile(r"\bhow (?:often|frequently)\b", re.IGNORECASE)
_RECURRING = re.compile(
    r"\b(?:every|once|twice|(?:each|per) (?:day|week|month|quarter|year)|\w+ times"
    r"|(?:annual|year|month|week|dai|quarter|regular|periodical)ly)\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"\bhow (?:much|high|large|big|far|tall)\b|\b(?:fine|penalty|fee|price|cost|amount|sum)s?\b",
    re.IGNORECASE,
)
_SHARE = re.compile(r"\b(?:percentage|percent|share|proportion)\b", re.IGNORECASE)
_WHEN = re.compile(r"\b(?:when|(?:what|which) (?:year|date|day|month|decade|century))\b", re.IGNORECASE)
_WHO = re.compile(r"\b(?:who|whom|whose)\b", re.IGNORECASE)
_WHY = re.compile(r"\bwhy\b|\bwhat (?:was the )?(?:reason|cause)", re.IGNORECASE)
_REASON = re.compile(r"\b(?:because|due to|in order to|as a result|since|so that|reason)\b", re.IGNORECASE)
_TIMING = re.compile(
    r"\b(?:1\d{3}s?|20\d\ds?|immediately|without (?:undue )?delay"
    r"|as soon as|upon|until|before|after|during)\b",
    re.IGNORECASE,
)
_MEANING = re.compile(
    r"""\b(?:what\s+(?:does|do)\s+(?P<verb>.+?)\s+mean\b
    |(?:meaning|definition)\s+of\s+(?P<noun>[^?]+?)(?=\s+(?:in|under|for|according)\b|\?|$)
    |define\s+(?P<order>[^?.]+)
    |how\s+(?:is|are)\s+(?P<passive>[^?]+?)\s+defined
    |what\s+(?:is|are)\s+(?:meant\s+by\s+)?(?:an?\s+)?(?!.*\b(?:meaning|definition)\b)(?P<plain>[^?,]{2,40}?)\s*\?\s*$)""",
    re.IGNORECASE | re.VERBOSE,
)
# A name, or a word that ends like controller, authority, applicant, trustee, chemist, member.
_AGENT = re.compile(r"\b(?:[A-Z][\w'’-]+|[a-z]{2,}(?:er|or|ant|ist|ian|ee|body|ity|person|company)s?)\b")
_MEANS = re.compile(r"\bmean(?:s|ing)?\b|\bdefin", re.IGNORECASE)
_YES_NO = re.compile(
    r"\s*(?:is|are|was|were|do|does|did|can|could|may|must|shall|should|will|has|have)\b", re.IGNORECASE
)
_QUOTES = "‘’'\"“”`* "


def answer_test(question: str) -> Callable[[str], bool] | None:
    """Return a test for sentences that hold the kind of thing `question` asks for; None for any kind."""
    asked = frozenset(quantities(question))

    def numbers(fits: Callable[[Quantity], bool]) -> Callable[[str], bool]:
        return lambda sentence: any(
            fits(q) for q in quantities(sentence) if q not in asked and q.unit not in REFERENCES
        )

    if counted := _COUNTED.search(question):
        unit = counted[1].lower().rstrip("s")
        return numbers(lambda q: q.unit == unit if unit in DURATIONS else q.unit not in DURATIONS)
    if _SHARE.search(question):
        return numbers(lambda q: q.unit in ("%", ""))
    if _DURATION.search(question):
        duration = numbers(lambda q: q.unit in DURATIONS)
        return lambda sentence: duration(sentence) or bool(_TIMING.search(sentence))
    if _FREQUENCY.search(question):
        return lambda sentence: bool(_RECURRING.search(sentence))
    if _AMOUNT.search(question):
        return numbers(lambda q: q.unit in MONEY or q.unit in ("%", ""))
    if _WHEN.search(question):
        return lambda sentence: bool(_TIMING.search(sentence) or quantities(sentence))
    if _WHO.search(question):
        return lambda sentence: bool(set(_agents(sentence)) - set(words(question)))
    if _WHY.search(question):
        return lambda sentence: bool(_REASON.search(sentence))
    return None


def asks_meaning(question: str) -> bool:
    """Tell whether `question` asks for nothing but the meaning of a term."""
    return bool(_MEANS.search(question)) and defined_term(question) is not None


def asks_yes_or_no(question: str) -> bool:
    """Tell whether "yes" could answer `question`."""
    return bool(_YES_NO.match(question))


def defined_term(question: str) -> str | None:
    """Return the term whose meaning `question` asks for."""
    match = _MEANING.search(question)
    return next(term for term in match.groups() if term).strip(_QUOTES) if match else None


def defines(term: str, sentence: str) -> bool:
    """Tell whether `sentence` says what `term` means: "‘X’ means", "X refers to", "X is a"."""
    return bool(
        re.search(
            rf"(?:^|[‘'\"“(]|\b(?:the term|an?|the)\s){re.escape(term)}s?[’'\"”]?\s*(?:\([^)]*\)\s*)?"
            r"(?:means?\b|refers? to\b|(?:is|are) (?:defined as|an?|any|the)\b|shall mean\b|includes?\b)",
            sentence,
            re.IGNORECASE,
        )
    )


def _agents(sentence: str) -> list[str]:
    """Return stems of names and of words for people and bodies."""
    return words(" ".join(_AGENT.findall(sentence)))
