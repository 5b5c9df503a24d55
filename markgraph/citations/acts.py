"""Names of acts, so that `Regulation (EU) 2016/679` and its CELEX number mean the same."""

import re

_LETTERS = {"regulation": "R", "directive": "L", "decision": "D", "framework decision": "F"}
_BODY = r"(?:EU|EC|EEC|JHA|Euratom)"
NUMBERED = (
    r"(?:(?:Delegated|Implementing|Framework)\s)?(?:Regulation|Directive|Decision)s?\s"
    rf"(?:\({_BODY}(?:,\s?{_BODY})?\)\s)?(?:No\.?\s)?\d{{1,4}}/\d{{1,4}}(?:/{_BODY})?"
)
"""An act of the European Union by its number."""
_PARTS = re.compile(
    r"(?P<framework>Framework\s)?(?P<type>Regulation|Directive|Decision)s?\s(?:\([^)]*\)\s)?"
    rf"(?P<no>No\.?\s)?(?P<a>\d{{1,4}})/(?P<b>\d{{1,4}})(?P<body>/{_BODY})?\Z"
)
_KINDS = (
    r"(?:Act|Code|Agreement|Contract|Regulations?|Rules|Law|Polic(?:y|ies)|Terms|Convention|Directive"
    r"|Charter)"
)
NAMED = (
    rf"(?:[A-Z][\w’'-]*(?:\s(?:of|and|for|on|the|to)(?:\sthe)?(?=\s[A-Z]))?\s){{1,8}}{_KINDS}(?:\sof\s\d{{4}})?\b"
    r"|[A-Z]{2,}[A-Z0-9]*\b(?!\s?[/(\d§])"
)
"""An act or a contract by its name, `AI Act`, or its initials, `GDPR`."""
_SPACE = re.compile(r"\s+")


def celex_of(name: str) -> str:
    """Return the CELEX number in lower case of an act such as `Directive 2014/65/EU`; empty if it has none.

    Numbers are `YEAR/NUMBER`, but regulations until 2014, which often say `No`: `NUMBER/YEAR`.
    """
    parts = _PARTS.search(name)
    if not parts:
        return ""
    first, second = parts["a"], parts["b"]
    swapped = bool(parts["no"]) or (len(first) != 4 and len(second) == 4)
    year, number = (second, first) if swapped else (first, second)
    if len(year) == 2:  # 95/46/EC
        year = f"19{year}"
    kind = "framework decision" if parts["framework"] else parts["type"].lower()
    return f"3{year}{_LETTERS[kind]}{int(number):04d}".lower()


def act_key(name: str) -> str:
    """Return what an act is known by: its CELEX number, else its name in lower case, without an article."""
    plain = _SPACE.sub(" ", name).strip()
    return celex_of(plain) or plain.lower().removeprefix("the ").removeprefix("eu ")
