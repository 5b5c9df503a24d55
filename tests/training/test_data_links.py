"""Rows that are asked the same, or about the same passage, are on one side of the split."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import UsageError
from markgraph.security.caller import Caller
from markgraph.security.policy import Policy
from markgraph.training.data.jsonl import Jsonl
from markgraph.training.data.select import Selection, Selector
from markgraph.training.rows import Kind, Row

TINA = Caller("tina", ["trainer"])
POLICY = Policy("p", {"trainer": ["documents:train"]})
SUBJECTS, EACH = 40, 3
Sides = tuple[list[Row], list[Row]]


def words(*about: object) -> str:
    """Return a text that is like no other."""
    return " ".join(sha256(f"{about} {word}".encode()).hexdigest()[:6] for word in range(12))


def sides(records: Sequence[Any], kind: Kind, folder: Path) -> Sides:
    """Return the rows to learn from, and those held back."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    selector = Selector(TINA, POLICY, Selection(0.2))
    selector.select(Jsonl(str(file), readers=["public"]), kind, folder)
    train, held = (
        [json.loads(line) for line in (folder / "rows" / f"{name}.jsonl").read_text("utf-8").splitlines()]
        for name in ("train", "held")
    )
    assert len(train) + len(held) == len(records)
    return train, held


def asked(row: Row) -> str:
    return row["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("kind", "record", "shared"),
    [
        (
            "pair",
            lambda on, at: {"prompt": words(on), "chosen": words(on, at), "rejected": words(at, on)},
            asked,
        ),
        ("chat", lambda on, at: {"prompt": words(on), "completion": words(on, at)}, asked),
        (
            "chat",
            lambda on, at: {
                "prompt": f"[1] Terms\n{words(on)}\n\nQuestion: {words(on, at)}",
                "completion": words(at, on),
            },
            lambda row: asked(row).partition("\n\n")[0],
        ),
        (
            "search",
            lambda on, at: {"query": words(on, at), "positive": words(on)},
            lambda row: row["positive"],
        ),
        ("search", lambda on, at: {"query": words(on), "positive": words(on, at)}, itemgetter("query")),
        (
            "entailment",
            lambda on, at: {"premise": words(on), "hypothesis": words(on, at), "label": 1},
            itemgetter("premise"),
        ),
    ],
    ids=["pairs", "answers", "questions on a passage", "passages", "queries", "premises"],
)
def test_what_rows_share_is_on_one_side_only(
    kind: Kind, record: Callable[[int, int], Any], shared: Callable[[Row], str], tmp_path: Path
) -> None:
    records = [record(on, at) for on in range(SUBJECTS) for at in range(EACH)]
    train, held = sides(records, kind, tmp_path)
    assert len(held) == pytest.approx(0.2 * len(records), abs=EACH)
    assert {shared(row) for row in train}.isdisjoint(shared(row) for row in held)
    assert all(len(row["documents"]) == 1 for row in (*train, *held)), "the rows' documents are as they were"


@pytest.mark.parametrize(
    "record",
    [
        lambda on: {"prompt": "Go on.", "completion": words(on)},
        lambda on: {"system": "You are a clerk.", "prompt": words(on), "completion": words(on, on)},
        lambda on: {"prompt": "Go on." if on % 3 else words(on), "completion": words(on, on)},
    ],
    ids=["one prompt", "one system prompt", "most have one prompt"],
)
def test_what_most_rows_share_parts_none_of_them(record: Callable[[int], Any], tmp_path: Path) -> None:
    records = [record(on) for on in range(100)]
    _, held = sides(records, "chat", tmp_path)
    assert len(held) == pytest.approx(20, abs=1)


def test_rows_that_all_hang_together_can_not_be_parted(tmp_path: Path) -> None:
    chain = [{"query": words(at // 2), "positive": words("p", (at + 1) // 2)} for at in range(12)]
    with pytest.raises(UsageError, match=r"All 12 rows rest on connected documents, prompts or passages"):
        sides(chain, "search", tmp_path)
