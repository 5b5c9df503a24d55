"""Which layouts of records are read, and what becomes of them."""

from typing import Any

import pytest

from markgraph.training.data.layouts import LayoutError, as_kind, standard
from markgraph.training.rewards import passages_of
from markgraph.training.rows import Kind

ASK = {"role": "user", "content": "Who pays?"}
PAIR = {"messages": [ASK], "chosen": "The tenant.", "rejected": "Nobody."}
CHAT = {"messages": [ASK], "completion": "The tenant."}


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("record", "kind", "expected"),
    [
        ({"prompt": "Who pays?", "completion": "The tenant."}, "chat", [CHAT]),
        ({"messages": [ASK, said("assistant", "The tenant.")]}, "chat", [CHAT]),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Who pays?"},
                    {"from": "gpt", "value": "The tenant."},
                ]
            },
            "chat",
            [CHAT],
        ),
        (
            {"instruction": "Who", "input": "pays?", "output": "x"},
            "chat",
            [{"messages": [said("user", "Who\n\npays?")], "completion": "x"}],
        ),
        (
            {"instruction": "Who pays?", "context": "Rent is due.", "output": "x"},
            "chat",
            [{"messages": [said("user", "Who pays?\n\nRent is due.")], "completion": "x"}],
        ),
        ({"question": "Who pays?", "answer": "The tenant."}, "chat", [CHAT]),
        (
            {"question": "Who pays?", "answers": ["A", "B"]},
            "task",
            [{"messages": [ASK], "reference": ["A", "B"]}],
        ),
        ({"prompt": "Who pays?", "chosen": "The tenant.", "rejected": "Nobody."}, "pair", [PAIR]),
        (
            {
                "prompt": [ASK],
                "chosen": [said("assistant", "The tenant.")],
                "rejected": [said("assistant", "Nobody.")],
            },
            "pair",
            [PAIR],
        ),
        (
            {
                "conversations": [{"from": "human", "value": "Who pays?"}],
                "chosen": {"from": "gpt", "value": "The tenant."},
                "rejected": {"from": "gpt", "value": "Nobody."},
            },
            "pair",
            [PAIR],
        ),
        (
            {
                "chosen": "\n\nHuman: Who pays?\n\nAssistant: The tenant.",
                "rejected": "\n\nHuman: Who pays?\n\nAssistant: Nobody.",
            },
            "pair",
            [PAIR],
        ),
        ({"prompt": "Who pays?", "chosen": "The tenant.", "rejected": "Nobody."}, "chat", [CHAT]),
        (PAIR, "rated", [CHAT | {"good": True}, CHAT | {"completion": "Nobody.", "good": False}]),
        (
            {"messages": [ASK, said("assistant", "The tenant.")], "label": False},
            "rated",
            [CHAT | {"good": False}],
        ),
        ({"messages": [ASK, said("assistant", "The tenant.")], "label": False}, "chat", []),
        ({"prompt": "Who pays?", "completion": "The tenant.", "label": 1}, "rated", [CHAT | {"good": True}]),
        ({"text": "Rent is due."}, "text", [{"text": "Rent is due."}]),
        (
            {"anchor": "a", "positive": "b", "negative": "c"},
            "search",
            [{"query": "a", "positive": "b", "negatives": ["c"]}],
        ),
        (
            {"premise": "a", "hypothesis": "b", "label": 0},
            "entailment",
            [{"premise": "a", "hypothesis": "b", "label": 0}],
        ),
        ({"premise": "a", "hypothesis": "b", "label": -1}, "entailment", []),
        ({"text": " "}, "text", []),
        ({"text": "Rent is due."}, "chat", []),
        ({"question": "Who pays?", "answer": None}, "chat", []),
    ],
)
def test_reads_a_record_as_a_kind(record: dict[str, Any], kind: Kind, expected: list[dict[str, Any]]) -> None:
    examples = as_kind(standard(record), kind)
    wanted = {name for example in expected for name in example}
    assert [{name: example[name] for name in wanted} for example in examples] == expected


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"body": "x"}, "fields of no layout"),
        ({"system": 5, "prompt": "Who pays?", "completion": "x"}, "a system prompt that is no text"),
        ({"system": {}, "messages": [ASK, said("assistant", "x")]}, "a system prompt that is no text"),
        ({"instruction": "Who?", "output": "x", "history": [["a"]]}, "a history that is no list of pairs"),
        ({"instruction": "Who?", "output": "x", "history": [["a", 5]]}, "not of system, user or assistant"),
        ({"question": "Who?", "answer": "x", "context": {"a": 1}}, "neither a text nor a list of texts"),
        ({"messages": [ASK]}, "does not end with what an assistant says"),
        ({"messages": "hello there"}, "does not end with what an assistant says"),
        ({"messages": [ASK, said("tool", "{}"), said("assistant", "x")]}, "not of system, user or assistant"),
        ({"messages": [ASK, 7]}, "no list of objects"),
        (
            {
                "chosen": "\n\nHuman: A?\n\nAssistant: x\n\nHuman: B?\n\nAssistant: y",
                "rejected": "\n\nHuman: A?\n\nAssistant: z",
            },
            "part before their last turns",
        ),
    ],
)
def test_says_why_a_record_is_in_no_layout(record: dict[str, Any], why: str) -> None:
    with pytest.raises(LayoutError, match=why):
        standard(record)


def test_a_system_prompt_and_earlier_turns_stay_in_the_prompt() -> None:
    turns = [said("user", "A?"), said("assistant", "a"), said("user", "B?"), said("assistant", "b")]
    (example,) = as_kind(standard({"system": "Be brief.", "conversations": turns}), "chat")
    assert [turn["role"] for turn in example["messages"]] == ["system", "user", "assistant", "user"]
    assert example["completion"] == "b"


SYSTEM, TURNS = said("system", "Be brief."), [ASK, said("assistant", "The tenant.")]
HUMAN = "\n\nHuman: Who pays?\n\nAssistant: "


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"prompt": "Who pays?", "completion": "The tenant."}, "chat"),
        ({"messages": [ASK], "completion": "The tenant."}, "chat"),
        ({"messages": TURNS}, "chat"),
        ({"messages": [SYSTEM, *TURNS]}, "chat"),
        ({"instruction": "Who pays?", "input": "", "output": "The tenant."}, "chat"),
        ({"question": "Who pays?", "answer": "The tenant."}, "chat"),
        ({"conversations": [ASK], "chosen": "The tenant.", "rejected": "Nobody."}, "pair"),
        ({"prompt": [ASK], "chosen": "The tenant.", "rejected": "Nobody."}, "pair"),
        ({"chosen": f"{HUMAN}The tenant.", "rejected": f"{HUMAN}Nobody."}, "pair"),
    ],
)
def test_a_system_prompt_beside_any_prompt_comes_first(record: dict[str, Any], kind: Kind) -> None:
    (example,) = as_kind(standard(record | {"system": "Be brief."}), kind)
    assert example["messages"] == [SYSTEM, ASK]
    for none in (None, "", " "):
        (example,) = as_kind(standard(record | {"system": none}), kind)
        assert example["messages"][-1] == ASK


def test_what_was_said_before_an_instruction_stays_in_the_prompt() -> None:
    record = {"instruction": "Now in French.", "output": "Bonjour.", "history": [["Say hello.", "Hello."]]}
    (example,) = as_kind(standard(record | {"system": "Be brief."}), "chat")
    before = [said("user", "Say hello."), said("assistant", "Hello.")]
    assert example["messages"] == [SYSTEM, *before, said("user", "Now in French.")]
    (example,) = as_kind(standard(record | {"history": []}), "chat")
    assert example["messages"] == [said("user", "Now in French.")]


@pytest.mark.parametrize(
    ("record", "prompt", "passages"),
    [
        ({"context": "Rent is due."}, "[1] Context\nRent is due.\n\nQuestion: Who pays?", ["Rent is due."]),
        (
            {"context": ["One.", " ", "Two."], "title": "Terms"},
            "[1] Terms\nOne.\n\n[2] Terms\nTwo.\n\nQuestion: Who pays?",
            ["One.", "Two."],
        ),
        ({"passages": ["One."]}, "[1] Context\nOne.\n\nQuestion: Who pays?", ["One."]),
        ({"context": " "}, "Who pays?", []),
        ({"context": None}, "Who pays?", []),
    ],
)
def test_what_a_question_is_about_is_a_passage_of_its_prompt(
    record: dict[str, Any], prompt: str, passages: list[str]
) -> None:
    asked = {"question": "Who pays?", "answers": {"text": ["The tenant."], "answer_start": [3]}}
    (example,) = as_kind(standard(asked | record), "task")
    assert example["messages"] == [said("user", prompt)]
    assert example["reference"] == ["The tenant."]
    assert passages_of(example["messages"]) == passages
