"""Reads the layouts in which data for training is passed around.

    our own        messages, completion | reference | chosen, rejected | good; see `markgraph.training.rows`
    OpenAI, TRL    messages [, label]; prompt, completion [, label]; prompt, chosen, rejected
    ShareGPT       conversations [, chosen, rejected | label], with from and value
    HH-RLHF        chosen, rejected, each a whole conversation
    Alpaca         instruction, input, output
    questions      question, answer | answers [, context | passages]
    others         text; query (or anchor), positive, negative(s); premise, hypothesis, label

Each with a prompt may have `system` beside it; one that is a question or an instruction, earlier turns in
`history`, as pairs of texts. What a question is about becomes a numbered passage, as answering writes it.

Does NOT include: turns of tools; and of several turns of an assistant, only the last is learned.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from markgraph.training.data.source import COLUMNS
from markgraph.training.rows import Kind, Message

Columns = dict[str, Any]
_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_TURN = re.compile(r"\n\n(Human|Assistant):")


class LayoutError(ValueError):
    """A record is in no layout; says why, in words that many records may share."""


def standard(record: Mapping[str, Any]) -> Columns:
    """Return a record's columns under the names that rows have.

    Raises:
        LayoutError: it is in no layout that is known here.
    """
    for keys, read in _LAYOUTS:
        if keys <= record.keys():
            return read(record)
    raise LayoutError("has the fields of no layout")


def as_kind(columns: Columns, kind: Kind) -> list[Columns]:
    """Return the examples of `kind` in what was read; a pair is two that were rated, too."""
    if kind == "chat" and "chosen" in columns:
        columns = columns | {"completion": columns["chosen"], "good": True}
    if kind == "chat" and not columns.get("good", True):
        return []
    examples = [columns]
    if kind == "rated" and "chosen" in columns:
        examples = [
            columns | {"completion": columns[of], "good": of == "chosen"} for of in ("chosen", "rejected")
        ]
    whole = all(_VALID[name](example.get(name)) for example in examples for name in COLUMNS[kind])
    return examples if whole else []


def conversation(turns: Any) -> list[Message]:
    """Return the turns of a chat; a text is one that a user says.

    Raises:
        LayoutError: they are no turns of system, user and assistant.
    """
    if isinstance(turns, str):
        return [Message(role="user", content=turns)]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise LayoutError("has turns that are no list of objects")
    return [_message(turn) for turn in turns]


def _message(turn: Mapping[str, Any]) -> Message:
    role = _ROLES.get(str(turn.get("role", turn.get("from"))))
    content = turn.get("content", turn.get("value"))
    if role is None or not isinstance(content, str) or turn.get("tool_calls"):
        raise LayoutError("has a turn that is not of system, user or assistant")
    return Message(role=role, content=content)  # type: ignore[typeddict-item]  # one of _ROLES


def _asked_with(record: Mapping[str, Any], given: Any) -> list[Message]:
    """Return the turns of a prompt behind the system prompt that a record has beside it.

    Raises:
        LayoutError: they are no turns, or that is no text.
    """
    turns, system = conversation(given), record.get("system")
    if not isinstance(system, str | None):
        raise LayoutError("has a system prompt that is no text")
    if system is None or not system.strip():
        return turns
    first = Message(role="system", content=system)
    return turns if turns[:1] == [first] else [first, *turns]


def _history(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the earlier turns that are beside a prompt: pairs of what was asked and answered."""
    pairs = record.get("history") or []
    if not isinstance(pairs, list) or not all(isinstance(each, list) and len(each) == 2 for each in pairs):
        raise LayoutError("has a history that is no list of pairs of texts")
    roles = ("user", "assistant")
    return [{"role": role, "content": said} for each in pairs for role, said in zip(roles, each, strict=True)]


def _own(record: Mapping[str, Any]) -> Columns:
    given = {name: record[name] for name in _VALID.keys() & record.keys()}
    return given | {"messages": _asked_with(record, record["messages"])} | _good(record)


def _chat(record: Mapping[str, Any]) -> Columns:
    turns = _asked_with(record, record.get("messages", record.get("conversations")))
    return _completed(turns) | _good(record)


def _completed(turns: list[Message]) -> Columns:
    """Return the prompt and what the assistant said last."""
    if not turns or turns[-1]["role"] != "assistant":
        raise LayoutError("does not end with what an assistant says")
    return {"messages": turns[:-1], "completion": turns[-1]["content"]}


def _shared_pair(record: Mapping[str, Any]) -> Columns:
    said = {of: _said(record[of]) for of in ("chosen", "rejected")}
    return {"messages": _asked_with(record, record.get("conversations", record.get("prompt"))), **said}


def _said(value: Any) -> str:
    """Return the text of an answer: itself, a turn, or the last of several turns."""
    if isinstance(value, str):
        return value.strip()
    turns = conversation(value if isinstance(value, list) else [value])
    return str(_completed(turns)["completion"])


def _prompted(record: Mapping[str, Any]) -> Columns:
    prompt = _asked_with(record, record["prompt"])
    return {"messages": prompt, "completion": _said(record["completion"])} | _good(record)


def _whole_pair(record: Mapping[str, Any]) -> Columns:
    """Read two whole conversations that are the same up to the last answer."""
    chosen, rejected = (_spoken(record[of]) for of in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise LayoutError("has two conversations that part before their last turns")
    said = {"chosen": _completed(chosen)["completion"], "rejected": _completed(rejected)["completion"]}
    return {"messages": _asked_with(record, chosen[:-1]), **said}


def _spoken(value: Any) -> list[Message]:
    if not isinstance(value, str):
        return conversation(value)
    _, *parts = _TURN.split(value)
    return [
        Message(role="user" if who == "Human" else "assistant", content=said.strip())
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _alpaca(record: Mapping[str, Any]) -> Columns:
    parts = ("instruction", "context", "input")
    asked = "\n\n".join(str(record[key]) for key in parts if record.get(key))
    turns = [*_history(record), {"role": "user", "content": asked}]
    return {"messages": _asked_with(record, turns), "completion": record["output"]}


def _asked(record: Mapping[str, Any]) -> Columns:
    answers = record.get("answers", record.get("answer"))
    if isinstance(answers, dict):  # as SQuAD has them, beside where each begins
        answers = answers.get("text")
    listed = list(answers) if isinstance(answers, list) else [answers]
    turns = conversation(record["question"])
    if (shown := _passages(record)) and turns:
        turns[-1]["content"] = f"{shown}\n\nQuestion: {turns[-1]['content']}"
    prompt = {"messages": _asked_with(record, [*_history(record), *turns]), "reference": listed}
    return prompt | ({"completion": listed[0]} if listed else {})


def _passages(record: Mapping[str, Any]) -> str:
    """Return what a question is about, a text or several, as the graph `qa` writes passages in a prompt."""
    context = record.get("context", record.get("passages")) or []
    texts = [context] if isinstance(context, str) else context
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise LayoutError("has a context that is neither a text nor a list of texts")
    texts = [text for text in texts if text.strip()]
    title = record.get("title")
    place = " ".join(title.split()) if isinstance(title, str) else ""
    return "\n\n".join(f"[{mark}] {place or 'Context'}\n{text}" for mark, text in enumerate(texts, 1))


def _plain(record: Mapping[str, Any]) -> Columns:
    return {name: record[name] for name in _VALID.keys() & record.keys()}


def _search(record: Mapping[str, Any]) -> Columns:
    negatives = record.get("negatives", record.get("negative", []))
    return {
        "query": record.get("query", record.get("anchor")),
        "positive": record["positive"],
        "negatives": [negatives] if isinstance(negatives, str) else negatives,
    }


def _good(record: Mapping[str, Any]) -> Columns:
    given = record.get("good", record.get("label"))
    return {} if given is None else {"good": bool(given) if given in (0, 1) else given}


_LAYOUTS: tuple[tuple[set[str], Callable[[Mapping[str, Any]], Columns]], ...] = (
    ({"messages", "completion"}, _own),
    ({"messages", "reference"}, _own),
    ({"messages", "chosen", "rejected"}, _own),
    ({"messages"}, _chat),
    ({"conversations", "chosen", "rejected"}, _shared_pair),
    ({"prompt", "chosen", "rejected"}, _shared_pair),
    ({"conversations"}, _chat),
    ({"prompt", "completion"}, _prompted),
    ({"chosen", "rejected"}, _whole_pair),
    ({"instruction", "output"}, _alpaca),
    ({"question", "answers"}, _asked),
    ({"question", "answer"}, _asked),
    ({"query", "positive"}, _search),
    ({"anchor", "positive"}, _search),
    ({"premise", "hypothesis", "label"}, _plain),
    ({"text"}, _plain),
)
"""The first whose fields a record has; the narrower ones come before."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(each) for each in value)


def _ends_with_user(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and value[-1]["role"] == "user"


_VALID: dict[str, Callable[[Any], bool]] = {
    "messages": _ends_with_user,
    "completion": _is_text,
    "reference": _are_texts,
    "chosen": _is_text,
    "rejected": _is_text,
    "good": lambda value: isinstance(value, bool),
    "text": _is_text,
    "query": _is_text,
    "positive": _is_text,
    "negatives": _are_texts,
    "premise": _is_text,
    "hypothesis": _is_text,
    "label": lambda value: value in (0, 1),
}
