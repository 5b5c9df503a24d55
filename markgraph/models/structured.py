"""Answers as objects: schemas in, checked values out."""

import json
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.pydantic import TypeBaseModel, is_basemodel_subclass, model_validate
from pydantic import ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1

from markgraph.errors import UsageError

Schema = dict[str, Any] | type
_SOME = "..."
_SIMPLE: dict[str, Any] = {
    "integer": 0,
    "number": 0.0,
    "boolean": True,
    "null": None,
    "array": [],
    "object": {},
}
_DEPTH = 6
"""Schemas may hold themselves: an outline is so many levels deep at most."""


class StructuredOutput(BaseGenerationOutputParser[Any]):
    """Reads a whole answer, or the arguments of its first tool call; never mends what is incomplete."""

    model: Any = None
    """The pydantic class of the value; None for a dict."""
    called: bool = False
    """The value is in a tool call, not in the text."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:  # noqa: ARG002
        """Return the value.

        Raises:
            OutputParserException: the answer is incomplete, or no value of the schema.
        """
        generation = result[0]
        message = generation.message if isinstance(generation, ChatGeneration) else AIMessage(generation.text)
        value = self._called(message) if self.called else self._said(message)
        if self.model is None:
            return value
        try:
            return model_validate(self.model, value)
        except (ValidationError, ValidationErrorV1) as error:
            raise _refusal(f"no {self.model.__name__}: {error}", message) from error

    def _said(self, message: Any) -> Any:
        try:
            return json.loads(message.text)
        except ValueError as error:
            raise _refusal(f"no complete JSON: {error}", message) from error

    def _called(self, message: Any) -> Any:
        if not message.tool_calls:
            raise _refusal("without a complete tool call", message)
        return message.tool_calls[0]["args"]


def pydantic_class(schema: Schema) -> TypeBaseModel | None:
    """Return `schema` if it is a pydantic class, of version 1 or 2."""
    return schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None


def titled(schema: Schema) -> Schema:
    """Return `schema`; a JSON schema that has no title gets one, since LangChain asks for it."""
    if isinstance(schema, dict) and not {"title", "name", "function"} & schema.keys():
        return {"title": "answer"} | schema
    return schema


def with_raw(
    model: Runnable[LanguageModelInput, AIMessage], parser: StructuredOutput
) -> Runnable[LanguageModelInput, dict[str, Any]]:
    """Return what answers with the message beside the value or the error, as LangChain's models do."""
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")


def response_schema(response_format: Any) -> dict[str, Any] | None:
    """Return the JSON schema that OpenAI's `response_format` asks for; None for text.

    Raises:
        UsageError: it is not in OpenAI's form.
    """
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
    raise UsageError(
        f"response_format is {response_format!r}. Allowed: {{'type': 'text'}}, {{'type': 'json_object'}}, "
        "{'type': 'json_schema', 'json_schema': {'schema': {...}}}. For a class, use with_structured_output."
    )


def brief(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` without the titles of its properties, which say again what their names say."""
    return {
        key: _untitled(value) if key in ("properties", "$defs") else value for key, value in schema.items()
    }


def _untitled(named: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: brief({key: value for key, value in one.items() if key != "title"})
        if isinstance(one, Mapping)
        else one
        for name, one in named.items()
    }


def outline(schema: Mapping[str, Any]) -> Any:
    """Return what a value of `schema` looks like, with descriptions in the place of strings.

    A model of 135 million parameters that is shown only the schema falls into loops, and rambles.
    """
    definitions = schema.get("$defs") or schema.get("definitions") or {}
    return _outline(schema, definitions, _DEPTH)


def _outline(schema: Any, definitions: Mapping[str, Any], depth: int) -> Any:
    match schema:
        case _ if not depth:
            return _SOME
        case {"$ref": str(ref)}:
            return _outline(definitions.get(ref.rpartition("/")[2]), definitions, depth - 1)
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"properties": dict(properties)}:
            return {name: _outline(one, definitions, depth - 1) for name, one in properties.items()}
        case {"items": dict(items)}:
            return [_outline(items, definitions, depth - 1)]
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} if "description" not in schema:
            return _outline(first, definitions, depth - 1)
        case {"type": str(kind)} if kind in _SIMPLE:
            return _SIMPLE[kind]
        case {"description": str(description)}:
            return description
    return _SOME


def _refusal(what: str, message: Any) -> OutputParserException:
    reason = message.response_metadata.get("finish_reason")
    advice = "It was cut off: raise max_tokens." if reason == "length" else "Ask again."
    return OutputParserException(
        f"The answer is {what}. Got {message.text!r}. {advice}", llm_output=message.text
    )
