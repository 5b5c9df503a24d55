"""What programs read is JSON: it has no NaN and no infinity."""

import json
import math
from types import MappingProxyType
from typing import Any, NamedTuple

from markgraph.json_text import json_text


def strictly(text: str) -> Any:
    """Read JSON, and nothing that is none."""

    def none(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=none)


class Place(NamedTuple):
    x: float
    y: float


def test_numbers_that_are_not_finite_are_null_wherever_they_stand() -> None:
    value = {
        "loss": math.nan,
        "deep": [{"low": -math.inf}, (math.inf, 1.5)],
        "place": Place(math.nan, 2.0),
        "view": MappingProxyType({"of": math.nan}),
        "words": "NaN",
        "whole": 3,
        "true": True,
    }
    assert strictly(json_text(value)) == {
        "loss": None,
        "deep": [{"low": None}, [None, 1.5]],
        "place": [None, 2.0],
        "view": {"of": None},
        "words": "NaN",
        "whole": 3,
        "true": True,
    }


def test_is_laid_out_as_it_is_told() -> None:
    assert json_text({"b": 1, "a": "ß"}, indent=1, sort_keys=True) == '{\n "a": "ß",\n "b": 1\n}'
    assert json_text({"at": Ellipsis}, default=str) == '{"at": "Ellipsis"}'
