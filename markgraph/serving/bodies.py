"""What a body must be before anything reads it."""

import json
from typing import Any

from markgraph.text import HALF

MAX_DEPTH = 64
"""Lists and objects within one another."""
MAX_BATCH = 100
"""Questions of one batch."""


def check_body(body: bytes) -> None:
    """Make sure that a body is JSON which everything behind can read and write.

    Raises:
        ValueError: saying what is wrong.
    """
    try:
        value = json.loads(body, parse_constant=_refuse)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise ValueError(f"The body is no JSON: {_ascii(str(error))}.") from error
    _check(value)
    if isinstance(value, dict):
        _check_fields(value)


def _check_fields(body: dict[str, Any]) -> None:
    """Refuse what LangServe's endpoints would fail over."""
    inputs, config = body.get("inputs", []), body.get("config", {})
    configs = config if isinstance(config, list) else [config]
    if not isinstance(inputs, list):
        raise ValueError("inputs is a list of questions.")
    if len(inputs) > MAX_BATCH:
        raise ValueError(f"A batch of {len(inputs)} is too long. Allowed: {MAX_BATCH}.")
    if isinstance(config, list) and len(config) != len(inputs):
        raise ValueError(f"There are {len(config)} configs for {len(inputs)} inputs.")
    if not all(isinstance(one, dict) for one in configs):
        raise ValueError("config is an object; in a batch it may be a list of objects.")


def _check(value: Any) -> None:
    """Refuse deep nesting, and halves of characters, which no UTF-8 can hold; keys are strings as well."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(part, str) and HALF.search(part) for part in level):
            raise ValueError(
                "The body holds half of a character (\\ud800 to \\udfff without its other half)."
            )
        level = [inner for part in level for inner in _within(part)]
        if not level:
            return
    raise _too_deep()


def _within(part: Any) -> list[Any]:
    if isinstance(part, dict):
        return [*part.keys(), *part.values()]
    return part if isinstance(part, list) else []


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _too_deep() -> ValueError:
    return ValueError(f"The body is nested too deeply. Allowed: {MAX_DEPTH} levels.")


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
