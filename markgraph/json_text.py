"""Writes JSON that every program reads: it has no number that is not finite."""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: object, **options: Any) -> str:
    """Return plain data as JSON, with null for each number that is not finite.

    Args:
        value: what is written.
        options: those of `json.dumps`.
    """
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, **options)


def finite(value: Any) -> Any:
    """Return plain data with None for each number in it that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value
