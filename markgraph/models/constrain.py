"""Grammars that an answer must keep to, and the masks that hold it to them.

llguidance does the parsing, over the bytes of tokens: https://github.com/guidance-ai/llguidance.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from markgraph.engines.port import TokenMask
from markgraph.errors import UsageError
from markgraph.models.per_tokenizer import once_per_tokenizer
from markgraph.models.tool_calls import ToolFormat

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from torch import Tensor

_JSON_STYLE = {
    # A small model that may add spaces adds them until its tokens run out.
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # What no grammar says (`not`, `uniqueItems`) is left to whoever validates the value.
    "lenient": True,
}
_ANY_TEXT = r"/(.|\n)*/"
_NO_JSON = r"/\s*([^{\s](.|\n)*)?/"
_MAPS = {"properties", "patternProperties", "$defs", "definitions"}
_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_ONES = {"items", "additionalProperties"}
"""Where a schema holds others: by name, in a list, alone."""
_COMPILED = 64
"""Grammars that are kept ready for each tokenizer."""


def json_grammar(schema: Mapping[str, Any]) -> str:
    """Return a grammar of JSON that `schema` allows; objects have no properties but those it names."""
    return f"start: {_json(schema)}"


def call_grammar(
    tools: list[dict[str, Any]],
    style: ToolFormat,
    controls: Mapping[str, int],
    *,
    forced: bool,
    several: bool,
    answer: Mapping[str, Any] | None = None,
) -> str:
    """Return a grammar of calls of `tools`, with arguments that their schemas allow.

    Unless a call is `forced`, the answer may be text too, or JSON of the schema `answer` where there is one;
    what begins like a call then has to be one.
    """
    free = not forced and answer is None
    several = several and style.several
    calls = _calls(style, several, _literal(style.end, controls))
    other = [] if forced else ["TEXT" if answer is None else _json(answer)]
    if free and style.tag and several:
        calls = f"{calls} TEXT"
    rules = [
        f"start: {' | '.join([calls, *other])}",
        *_head(style, controls, free),
        f"TEXT: {_ANY_TEXT if style.tag else _NO_JSON}",
        f"one: {' | '.join(f'tool_{n}' for n in range(len(tools)))}",
    ]
    for n, function in enumerate(tool["function"] for tool in tools):
        # Cut like JSON's own tokens: one long literal would win against an `answer` that begins alike.
        keys = ("{", '"name"', ": ", json.dumps(function["name"]), ", ", json.dumps(style.arguments), ": ")
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        rules.append(f'tool_{n}: {" ".join(map(_quoted, keys))} {_json(schema)} "}}"')
    return "\n".join(rules)


def _calls(style: ToolFormat, several: bool, end: str) -> str:
    """Return the rule of one call or several, with what stands around them."""
    if style.listed:
        more = '(", " one)*' if several else ""
        return f'head "[" one {more} "]" {end}'
    call = f"head one {end}"
    return rf'{call} ("\n"? {call})*' if several else call


def _head(style: ToolFormat, controls: Mapping[str, int], free: bool) -> list[str]:
    """Return the rules for what stands before the JSON of a call; any text first, where it is `free`."""
    gap = _literal(style.gap, controls)
    tag = _literal(style.tag, controls)
    if not free or not style.tag:
        return [f"head: {tag} {gap}"]
    if style.tag in controls:
        return [f"head: TEXT {tag} {gap}"]
    # Lazy: the text ends with the first tag, and can't run over it.
    return [f"head: text_and_tag {gap}", f"text_and_tag[lazy]: TEXT {tag}"]


def _literal(text: str, controls: Mapping[str, int]) -> str:
    """Return `text` as a grammar writes it: control tokens by their ids, the rest in quotes."""
    found = [control for control in controls if control in text]
    parts = re.split(f"({'|'.join(map(re.escape, found))})", text) if found else [text]
    return " ".join(f"<[{controls[part]}]>" if part in controls else _quoted(part) for part in parts if part)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json(schema: Mapping[str, Any]) -> str:
    # What all of several schemas must allow can't be closed in one of them.
    kept = dict(schema) if _merges(schema) else _closed(schema)
    return f"%json {json.dumps(kept | {'x-guidance': _JSON_STYLE}, ensure_ascii=False)}"


def _merges(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return len(schema.get("allOf", ())) > 1 or any(map(_merges, schema.values()))
    return isinstance(schema, list) and any(map(_merges, schema))


def _closed(schema: Any) -> Any:
    """Return `schema` with no properties but those that it names.

    JSON Schema allows any others where nothing is said: a small model would go on to make some up.
    """
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for key in _MAPS & schema.keys():
        closed[key] = {name: _closed(one) for name, one in schema[key].items()}
    for key in _LISTS & schema.keys():
        closed[key] = [_closed(one) for one in schema[key]]
    for key in _ONES & schema.keys():
        closed[key] = _closed(schema[key])
    if "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


@once_per_tokenizer
def constrainer(tokenizer: Any) -> "Constrainer":
    """Return what makes masks for `tokenizer`."""
    return Constrainer(tokenizer)


class Constrainer:
    """Makes masks over the tokens of one tokenizer; takes about a second to build for 50,000 tokens."""

    def __init__(self, tokenizer: Any) -> None:
        """Read the vocabulary.

        Raises:
            UsageError: the tokenizer is not one of the library `tokenizers`.
        """
        from llguidance.hf import from_tokenizer

        try:
            self._tokenizer = from_tokenizer(tokenizer)
        except ValueError as error:
            raise UsageError(
                f"Can't constrain answers with a {type(tokenizer).__name__}: {error}. "
                "Use a model that comes with a tokenizer.json."
            ) from error
        self._compiled = lru_cache(_COMPILED)(self._compile)

    def mask(self, grammar: str) -> Callable[[], TokenMask]:
        """Return what makes the mask of an answer that keeps to `grammar`, in llguidance's form of Lark.

        Raises:
            UsageError: the grammar, or a JSON schema in it, can't be enforced.
        """
        matcher = self._compiled(grammar)
        return lambda: GrammarMask(matcher.deep_copy(), self._tokenizer.vocab_size)

    def _compile(self, grammar: str) -> "LLMatcher":
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, f"%llguidance {{}}\n{grammar}", log_level=0)
        if matcher.is_error():
            raise UsageError(
                f"This JSON schema can't be enforced: {matcher.get_error()}. "
                "Allowed: JSON Schema without look-around in patterns and without references to elsewhere."
            )
        return matcher


class GrammarMask:
    """Allows the tokens with which a text can still become one of a grammar's."""

    def __init__(self, matcher: "LLMatcher", size: int) -> None:
        """Take a matcher that has read nothing yet, and the number of tokens."""
        self._matcher, self._size = matcher, size

    def allowed(self) -> "Tensor":
        """Return a bool tensor (v,); the end-of-text token is allowed where the grammar's text may end.

        Raises:
            UsageError: the grammar became too complex to follow.
        """
        import numpy as np
        import torch

        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise UsageError(
                f"The JSON schema is too complex to enforce: {self._matcher.get_error()}. Use a smaller one."
            )
        return torch.from_numpy(np.unpackbits(bits, count=self._size, bitorder="little")).view(torch.bool)

    def advance(self, token: int) -> None:
        """Take note of the token that was chosen."""
        self._matcher.consume_token(token)
