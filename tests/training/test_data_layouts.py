"""Which layouts of records are read, and what becomes of them."""

from typing import Any

import pytest

from markgraph.training.data.layouts import LayoutError, as_kind, standard
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
