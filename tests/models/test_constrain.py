"""Whatever a mask lets through is a text of its grammar: shown by walking through it at random."""

import json
import random
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from transformers import ByT5Tokenizer

from markgraph.engines.port import TokenMask
from markgraph.errors import UsageError
from markgraph.models.constrain import call_grammar, constrainer, json_grammar
from markgraph.models.per_tokenizer import control_tokens
from markgraph.models.tool_calls import IN_PROMPT, ToolFormat, parse_tool_calls
from tests.engines.tiny import tiny_tokenizer
from tests.models.families import tokenizer_of

SCHEMAS: dict[str, Any] = {
    "object": {
        "type": "object",
        "properties": {
            "days": {"type": "integer", "minimum": 3, "maximum": 90},
            "unit": {"enum": ["day", "wéek"]},
            "open": {"type": "boolean"},
        },
        "required": ["days"],
    },
    "nested": {
        "type": "object",
        "properties": {
            "parties": {
                "type": "array",
                "maxItems": 2,
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "maxLength": 3}, "code": {"$ref": "#/$defs/c"}},
                    "required": ["name"],
                },
            },
            "note": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 2}]},
        },
        "required": ["parties", "note"],
        "$defs": {"c": {"type": "string", "pattern": "^[A-Z]{2}$"}},
    },
}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("pay", days={"type": "integer", "minimum": 0, "maximum": 9}), tool("clock")]


def walk(tokenizer: Any, make: Callable[[], TokenMask], seed: int, text: str = "") -> str:
    """Return `text`, or as much of it as is allowed, and then what random allowed tokens make of it."""
    mask, draw, end = make(), random.Random(seed), tokenizer.eos_token_id
    asked = tokenizer(text, add_special_tokens=False).input_ids
    said: list[int] = []
    for step in range(600):
        allowed = mask.allowed()
        assert allowed is not None
        choice = allowed.nonzero().flatten().tolist()
        assert choice
        token = asked[step] if step < len(asked) and asked[step] in choice else draw.choice(choice)
        if token == end or (step >= len(asked) and end in choice):
            return str(tokenizer.decode(said, skip_special_tokens=False))
        said.append(token)
        mask.advance(token)
    raise AssertionError(tokenizer.decode(said))


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), tokenizer_of("plain")], ids=["bpe", "bytes"])
def test_all_that_may_be_said_fits_the_schema(tokenizer: Any, name: str) -> None:
    mask = constrainer(tokenizer).mask(json_grammar(SCHEMAS[name]))
    said = {walk(tokenizer, mask, seed) for seed in range(12)}
    assert len(said) > 1
    for text in said:
        jsonschema.validate(json.loads(text), SCHEMAS[name])


def test_no_properties_are_made_up() -> None:
    tokenizer = tiny_tokenizer()
    mask = constrainer(tokenizer).mask(json_grammar(SCHEMAS["object"]))
    for seed in range(12):
        assert json.loads(walk(tokenizer, mask, seed)).keys() <= {"days", "unit", "open"}


def test_what_several_schemas_ask_for_is_asked_for_together() -> None:
    tokenizer = tiny_tokenizer()
    parts = [
        {"type": "object", "properties": {name: {"type": "boolean"}}, "required": [name]} for name in "ab"
    ]
    mask = constrainer(tokenizer).mask(json_grammar({"allOf": parts}))
    text = '{"a": true, "b": false}'
    assert walk(tokenizer, mask, 1, text) == text
    half = mask()
    for token in tokenizer('{"a": true').input_ids:
        half.advance(token)
    allowed = half.allowed()
    assert allowed is not None
    assert allowed[tokenizer.convert_tokens_to_ids(",")]
    assert not allowed[tokenizer.convert_tokens_to_ids("}")]


def test_masks_of_one_grammar_do_not_share_their_place() -> None:
    tokenizer = tiny_tokenizer()
    make = constrainer(tokenizer).mask(json_grammar(SCHEMAS["object"]))
    first, second = make(), make()
    before = second.allowed()
    first.advance(int(first.allowed().nonzero()[0]))  # type: ignore[union-attr]
    assert before is not None
    assert before.equal(second.allowed())  # type: ignore[arg-type]


def test_a_schema_that_cannot_be_enforced_is_refused() -> None:
    schema = {"type": "string", "pattern": "(?=a)b"}
    with pytest.raises(UsageError, match=r"look-around, .* is not supported"):
        constrainer(tiny_tokenizer()).mask(json_grammar(schema))


def test_a_tokenizer_without_its_file_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ByT5Tokenizer.*tokenizer\.json"):
        constrainer(ByT5Tokenizer())


FORMATS = {
    "tags": IN_PROMPT,
    "lines": ToolFormat("<tool_call>", "\n", "\n</tool_call>"),
    "bare": ToolFormat("", arguments="parameters", several=False),
    "list": ToolFormat("[TOOL_CALLS]", " ", listed=True),
}


@pytest.mark.parametrize("family", ["plain", "mistral"])
@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("several", [False, True])
def test_a_forced_answer_is_a_call(style: ToolFormat, several: bool, family: str) -> None:
    tokenizer = tokenizer_of(family)
    grammar = call_grammar(TOOLS, style, control_tokens(tokenizer), forced=True, several=several)
    mask = constrainer(tokenizer).mask(grammar)
    for seed in range(8):
        message = parse_tool_calls(walk(tokenizer, mask, seed, "Hello."), TOOLS, style)
        assert message.tool_calls
        assert message.invalid_tool_calls == []
        assert several or len(message.tool_calls) == 1
        for call in message.tool_calls:
            known = {one["function"]["name"]: one["function"]["parameters"] for one in TOOLS}
            jsonschema.validate(call["args"], known[call["name"]])


@pytest.mark.parametrize("family", ["plain", "mistral"])
@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_words_are_allowed_where_no_call_is_forced(style: ToolFormat, family: str) -> None:
    tokenizer = tokenizer_of(family)
    grammar = call_grammar(TOOLS, style, control_tokens(tokenizer), forced=False, several=True)
    text = "Am 3. <Mai> [sic], 日本: {x}."
    assert walk(tokenizer, constrainer(tokenizer).mask(grammar), 1, text) == text


@pytest.mark.parametrize("family", ["plain", "mistral"])
@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_what_begins_like_a_call_becomes_one(style: ToolFormat, family: str) -> None:
    tokenizer = tokenizer_of(family)
    grammar = call_grammar(TOOLS, style, control_tokens(tokenizer), forced=False, several=False)
    mask = constrainer(tokenizer).mask(grammar)
    before = "I look it up." if style.tag else ""
    begun = f"{before}{style.tag}{style.gap}{'[' if style.listed else ''}{{"
    for seed in range(4):
        said = walk(tokenizer, mask, seed, begun)
        assert said.startswith(begun)
        assert len(parse_tool_calls(said, TOOLS, style).tool_calls) == 1


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_an_answer_is_a_call_or_keeps_to_its_schema(style: ToolFormat) -> None:
    tokenizer = tokenizer_of("mistral")
    answer = {"type": "object", "properties": {"name": {"const": "x"}}, "required": ["name"]}
    grammar = call_grammar(
        TOOLS, style, control_tokens(tokenizer), forced=False, several=False, answer=answer
    )
    mask = constrainer(tokenizer).mask(grammar)
    assert walk(tokenizer, mask, 1, '{"name": "x"}') == '{"name": "x"}'
    for seed in range(8):
        said = walk(tokenizer, mask, seed)
        assert said == '{"name": "x"}' or len(parse_tool_calls(said, TOOLS, style).tool_calls) == 1
