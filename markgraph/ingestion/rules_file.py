"""Reads rules from a YAML file that an administrator keeps beside the documents."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from markgraph.config_errors import nearest
from markgraph.errors import ConfigError, UsageError
from markgraph.ingestion.rules import Grant, Rule, Rules

Location = tuple[int | str, ...]
_KINDS = {type(None): "nothing", list: "a list", str: "a text", dict: "a mapping"}


def read_rules(path: str | Path | None) -> Rules:
    """Return the rules in the file at `path`.

    Raises:
        UsageError: no file is named, or it can't be read.
        ConfigError: it is no YAML, or holds what rules don't have; each mistake is named with its line.
    """
    if path is None:
        raise UsageError("Say where the rules are: rules=file rules.path=FILE.")
    try:
        text = Path(path).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the rules in {path}: {error}. Check the path.") from error
    try:
        tree, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if repeated := list(_repeated_keys(tree)):
        raise _mistakes(path, repeated)
    try:
        return Rules.model_validate(data)
    except ValidationError as error:
        found = [(_line(tree, each["loc"]), _explained(each)) for each in error.errors()]
        raise _mistakes(path, found) from error


def _mistakes(path: str | Path, found: Sequence[tuple[int, str]]) -> ConfigError:
    lines = "".join(f"\n  line {line}: {what}" for line, what in sorted(found))
    return ConfigError(f"The rules in {path} can't be used:{lines}")


def _explained(error: Any) -> str:
    """Return what pydantic found, with the keys that are allowed."""
    where = ".".join(map(str, error["loc"])) or "the file"
    if error["type"] == "tuple_type":
        if error["loc"][-1] == "readers":
            return f"{where}: expected a list, such as [g:legal, u:ada]"
        return f"{where}: expected text, in quotes if it is a number or a word like true, or a list: [a, '3']"
    if error["type"] == "missing":
        return f"{where} is missing: say who may read, as in readers: [public]; with readers: [] nobody may"
    if error["type"] in ("model_type", "mapping_type", "dict_type"):
        got = _KINDS.get(type(error["input"]), "a value")
        return f"{where}: got {got}, expected a mapping, KEY: VALUE.{_keys_at(error['loc'])}"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    allowed = _model_at(error["loc"]).model_fields
    return f"unknown key {where}.{nearest(str(error['loc'][-1]), allowed)}"


def _keys_at(location: Location) -> str:
    """Return a sentence with the keys that are allowed at `location`; those of `where` are of any name."""
    if "where" in location:
        return ""
    model = _model_at((*location, "")) if location else Rules
    return f" Allowed: {', '.join(sorted(model.model_fields))}."


def _model_at(location: Location) -> type[BaseModel]:
    if location[0] == "rules" and len(location) > 1:
        return Rule
    return Grant if location[0] == "default" and len(location) > 1 else Rules


def _line(node: yaml.Node | None, location: Location) -> int:
    """Return the line of the innermost thing on the way to `location`, counted from 1."""
    if node is None:
        return 1
    line = node.start_mark.line + 1
    for step in location:
        key, value = _child(node, step)
        if value is None:
            break
        node, line = value, (key or value).start_mark.line + 1
    return line


def _child(node: yaml.Node, step: int | str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return the key, where there is one, and the value that a step leads to."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(step)), (None, None))
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return None, node.value[step]
    return None, None


def _repeated_keys(node: yaml.Node | None, seen: set[int] | None = None) -> Iterator[tuple[int, str]]:
    """Yield the keys that a mapping has twice, of which YAML would silently take the last."""
    seen = set() if seen is None else seen
    if node is None or id(node) in seen:  # an alias leads to a node that was there before
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for at, (key, value) in enumerate(node.value):
            if key.value in keys[:at]:
                yield key.start_mark.line + 1, f"{key.value} is there twice"
            yield from _repeated_keys(value, seen)
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value, seen)
