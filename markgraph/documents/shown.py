"""Writes the value of a spreadsheet's cell as people see it.

Dates are in ISO 8601 whatever their format. Does NOT know fractions, exponents, thousands left out, and
formats that depend on a condition: such a number is written plainly.
"""

import re
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

_MARKUP = re.compile(
    r"""\[\$(?P<currency>[^\]-]*)[^\]]*\] | \[[^\]]*\] | [_*]. | \\(?P<escaped>.) | "(?P<quoted>[^"]*)" """,
    re.VERBOSE,
)
_FORMAT = re.compile(
    r"(?P<before>[^#0,.%?]*)(?P<whole>[#,]*[0#]+)(?:\.(?P<decimals>[0#]+))?(?P<percent>%?)(?P<after>[^#0,.%?]*)"
)
_TIME = re.compile(r"[hs]", re.IGNORECASE)
_LARGEST = 1e15


def shown(value: object, code: str) -> str:
    """Return `value` in the number format `code`: 0.075 in `0.0%` is 7.5%."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case int() | float():
            return _number(value, code)
        case datetime():
            has_time = value.time() != time() or _TIME.search(_MARKUP.sub("", code))
            return (
                f"{value.date().isoformat()} {shown(value.time(), code)}"
                if has_time
                else value.date().isoformat()
            )
        case time():
            return value.isoformat("seconds" if value.second else "minutes")
        case date():
            return value.isoformat()
        case timedelta():
            seconds = round(value.total_seconds())
            return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
        case _:
            return str(value)


def _number(value: float, code: str) -> str:
    section = _MARKUP.sub(_literal, code.split(";")[0])
    match = _FORMAT.fullmatch(section)
    if match is None or abs(value) >= _LARGEST:
        return str(value) if isinstance(value, int) else f"{value:.15g}"
    decimals = match["decimals"] or ""
    exact = Decimal(repr(value)).scaleb(2 if match["percent"] else 0)
    rounded = exact.quantize(Decimal(1).scaleb(-len(decimals)), ROUND_HALF_UP)
    digits = f"{abs(rounded):{',' if ',' in match['whole'] else ''}f}"
    for _ in range(decimals.count("#")):  # places that are shown only where they hold something
        digits = digits.removesuffix("0").removesuffix(".")
    sign = "-" if rounded < 0 else ""
    return f"{sign}{match['before']}{digits}{match['percent']}{match['after']}".strip()


def _literal(match: re.Match[str]) -> str:
    """Return what a piece of markup shows: the sign of a currency, text in quotation marks."""
    return match["currency"] or match["escaped"] or match["quoted"] or ""
