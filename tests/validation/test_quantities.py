"""Numbers and their units, however they are written."""

import pytest

from markgraph.validation.quantities import quantities, without_numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("72 hours", [(72, "hour")]),
        ("seventy-two hours", [(72, "hour")]),
        ("a 24-hour delay", [(24, "hour")]),
        ("two hundred and five days", [(205, "day")]),
        ("one month", [(1, "month")]),
        ("one who can", []),
        ("30 calendar days", [(30, "day")]),
        ("five working days", [(5, "working day")]),
        ("up to 20 000 000 EUR, or 4 %", [(20_000_000, "EUR"), (4, "%")]),
        ("EUR 20 million", [(20_000_000, "EUR")]),
        ("$35,000 per year", [(35_000, "USD")]),
        ("twenty thousand dollars", [(20_000, "USD")]),
        ("per cent: 4 per cent", [(4, "%")]),
        ("on 25 May 2018", [(25, "May"), (2018, "")]),
        ("Articles 5 and 6", [(5, "article"), (6, "")]),
        ("12 may join", [(12, "")]),
        ("the 1990s", [(1990, "")]),
    ],
)
def test_reads(text: str, found: list[tuple[int, str]]) -> None:
    assert [(each.value, each.unit) for each in quantities(text)] == found


def test_remembers_the_words_and_the_place() -> None:
    (quantity,) = quantities("within seventy-two hours of it")
    assert quantity.written == "seventy-two hours"
    assert quantity.start == 7


def test_leaves_the_units_when_numbers_are_taken_out() -> None:
    assert without_numbers("EUR 20 000 within two calendar days") == "EUR  within days"
