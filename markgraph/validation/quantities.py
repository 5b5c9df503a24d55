"""Reads numbers with their units: "72 hours", "seventy-two hours", "EUR 20 million", "4 %"."""

import re
from dataclasses import dataclass, field
from decimal import Decimal

_ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen""".split()
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: n for n, word in enumerate(_ONES)} | {word: 20 + 10 * n for n, word in enumerate(_TENS)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_TIMES = ["second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade", "century"]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
# These stand before the number: "Article 5", "paragraphs 2 and 3".
_REFERENCES = "article section paragraph point annex chapter title recital table figure page".split()
# How a unit may be written -> its one name.
_UNITS = {
    **{form: unit for unit in _TIMES for form in (unit, f"{unit}s")},
    "centuries": "century",
    **{month: month for month in _MONTHS},
    **dict.fromkeys(("eur", "euro", "euros", "€"), "EUR"),
    **dict.fromkeys(("usd", "us$", "dollar", "dollars", "$"), "USD"),
    **dict.fromkeys(("gbp", "pound", "pounds", "£"), "GBP"),
    **{form: word for word in _REFERENCES for form in (word, f"{word}s", f"{word}es")},
    **dict.fromkeys(("%", "percent", "per cent"), "%"),
}
_NUMBER_WORD = "|".join([*_SMALL, *_SCALES])
_QUANTITY = re.compile(
    rf"""
    (?P<before>(?:\b(?:EUR|USD|GBP)|US\$|[€$£])\s?|\b(?:{"|".join(_REFERENCES)})(?:e?s)?\s)?
    (?:
      (?<![\w.])(?P<digits>
        \d{{1,3}}(?:[ \u00a0\u202f]\d{{3}})+(?!\d)|\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)
      (?:\s?(?P<scale>hundred|thousand|million|billion|trillion)\b)?
    | \b(?P<words>(?:{_NUMBER_WORD})(?:(?:\s|-|\sand\s)(?:{_NUMBER_WORD}))*)\b
    )
    (?:[\s-]?(?P<working>working|business|trading|banking)\b|[\s-](?:calendar|consecutive|full|further|more)\b)?
    (?:[\s-]?(?P<after>%|€|per\ cent\b|percent\b|[a-z]{{3,9}}\b))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
DURATIONS = frozenset(_TIMES) | {"working day"}
REFERENCES = frozenset(_REFERENCES)
MONEY = frozenset({"EUR", "USD", "GBP"})


@dataclass(frozen=True)
class Quantity:
    """A number with its unit; equal to the same quantity in other words."""

    value: Decimal
    unit: str
    """In the singular, "" where there is none that is known."""
    start: int = field(compare=False)
    """Offset at which it begins in the text."""
    written: str = field(compare=False)
    """As the text has it."""


def quantities(text: str) -> list[Quantity]:
    """Return the numbers in `text` with their units, in order; number words count as numbers."""
    found = []
    for match in _QUANTITY.finditer(text):
        unit = _unit(match)
        if match["digits"]:
            scale = _SCALES.get((match["scale"] or "").lower(), 1)
            value = Decimal(re.sub(r"[,\s]", "", match["digits"])) * scale
        else:
            value = Decimal(_value(match["words"].lower()))
        # "one" is mostly a pronoun.
        if unit or (match["words"] or "").lower() != "one":
            groups = ["digits", "scale", "words", *(["after"] if unit and not match["before"] else [])]
            end = max(match.end(group) for group in groups)
            found.append(Quantity(value, unit, match.start(), text[match.start() : end].strip()))
    return found


def without_numbers(text: str) -> str:
    """Return `text` with its quantities reduced to their units, as they are written."""
    return _QUANTITY.sub(lambda m: " ".join(filter(None, (m["before"], m["working"], m["after"]))), text)


def _unit(match: re.Match[str]) -> str:
    before, after = (match["before"] or "").strip().lower(), match["after"] or ""
    # "may" after a number is a month when it has a capital.
    unit = _UNITS.get(before) or _UNITS.get(after) or _UNITS.get(after.lower(), "")
    return f"working {unit}" if match["working"] and unit == "day" else unit


def _value(spelled: str) -> int:
    """Return the value of number words such as "two hundred and five"."""
    total = current = 0
    for word in re.findall(r"[a-z]+", spelled):
        if word == "hundred":
            current = max(current, 1) * 100
        elif word in _SCALES:
            total, current = total + max(current, 1) * _SCALES[word], 0
        elif word != "and":
            current += _SMALL[word]
    return total + current
