"""Which rows are taken, which are left out for which reason, and how they are split."""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.errors import ConfigError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.security.policy import Policy
from markgraph.training.data.jsonl import HALVES, Jsonl
from markgraph.training.data.select import (
    LONG,
    NEAR,
    REPEATED,
    UNKNOWN_READERS,
    UNREADABLE,
    Selection,
    Selector,
)
from markgraph.training.data.source import LeaveOut, row_of
from markgraph.training.data.split import Connected, held_back
from markgraph.training.rows import Kind, Row

TINA = Caller("tina", ["trainer"], groups=["legal"], clearance=1)
POLICY = Policy(
    "p", {"trainer": ["documents:train"], "clerk": ["documents:train:open"], "reader": ["documents:read"]}
)
OPEN = Permissions(readers=("public",))


class Listed:
    """Rows that are given."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        yield from self._rows


def row(text: str, *documents: str, permissions: Permissions = OPEN) -> Row:
    return row_of("text", {"text": text}, "listed", documents or (text,), permissions)


def written(number: int) -> str:
    """Return a text that is like no other."""
    return " ".join(sha256(f"{number} {word}".encode()).hexdigest()[:6] for word in range(12))


def select(
    rows: Sequence[Row], folder: Path, caller: Caller = TINA, seed: int = 0, **selection: Any
) -> dict[str, Any]:
    selector = Selector(caller, POLICY, Selection(**({"held": 0.2} | selection)), seed)
    return selector.select(Listed(rows), "text", folder)


def ids(folder: Path, name: str) -> list[str]:
    return [
        json.loads(line)["id"] for line in (folder / "rows" / f"{name}.jsonl").read_text("utf-8").splitlines()
    ]


@pytest.mark.parametrize(
    ("permissions", "why"),
    [
        (OPEN, None),
        (Permissions(readers=("g:legal",)), None),
        (Permissions(readers=("public",), classification=1), None),
        (Permissions(readers=()), UNKNOWN_READERS),
        (Permissions(readers=("g:hr",)), UNREADABLE),
        (Permissions(readers=("public",), classification=2), UNREADABLE),
        (Permissions("other", readers=("public",)), UNREADABLE),
    ],
)
def test_takes_only_rows_that_the_caller_may_read_all_of(
    permissions: Permissions, why: str | None, tmp_path: Path
) -> None:
    rows = [row(written(at)) for at in range(4)] + [row("the one", permissions=permissions)]
    report = select(rows, tmp_path)
    assert report["rows"] + report["held"] == (4 if why else 5)
    assert report["left_out"] == ({why: 1} if why else {})


def test_a_permission_for_one_document_opens_no_other(tmp_path: Path) -> None:
    rows = [row(written(at), "open" if at < 3 else "closed") for at in range(6)]
    report = select(rows, tmp_path, Caller("carl", ["clerk"]), held=0)
    assert (report["rows"], report["left_out"]) == (3, {UNREADABLE: 3})


def test_without_the_permission_to_train_nothing_is_left(tmp_path: Path) -> None:
    for caller in (
        Caller("rita", ["reader"]),
        Caller("tina", ["trainer"], scopes=["documents:read"]),
        Caller(),
    ):
        with pytest.raises(UsageError, match="No row is left to learn from: 3 the caller may not train"):
            select([row(written(at)) for at in range(3)], tmp_path, caller)
    assert not (tmp_path / "report.json").exists()


def test_a_forbidden_row_does_not_hide_an_equal_one_that_is_allowed(tmp_path: Path) -> None:
    secret = row("pay at once to the landlord", "secret", permissions=Permissions(readers=("g:hr",)))
    report = select([secret, row("pay at once to the landlord", "open"), row(written(1))], tmp_path)
    assert report["left_out"] == {UNREADABLE: 1}
    assert report["rows"] + report["held"] == 2


def test_takes_equal_and_nearly_equal_rows_once(tmp_path: Path) -> None:
    text = "The tenant pays the rent on the first working day of each month to the account of the landlord."
    rows = [
        row(text, "a"),
        row(text, "b"),
        row(text.upper() + " !", "c"),
        row(text.replace("rent", "fee"), "d"),
    ]
    report = select(rows, tmp_path)
    assert report["left_out"] == {REPEATED: 1, NEAR: 1}
    assert select(rows, tmp_path / "all", similar=None)["left_out"] == {REPEATED: 1}


def test_reports_rows_that_are_too_long_and_cuts_none(tmp_path: Path) -> None:
    def too_long(each: Row) -> str | None:
        return LONG if len(each["text"].split()) > 20 else None

    rows = [row(written(at)) for at in range(4)] + [row("word " * 50)]
    selector = Selector(TINA, POLICY, Selection(), objection=too_long)
    report = selector.select(Listed(rows), "text", tmp_path)
    assert report["left_out"] == {LONG: 1}
    assert report["sources"]["listed"]["left_out"][LONG]["examples"] == [rows[-1]["id"]]


def test_the_report_holds_no_text_of_a_row(tmp_path: Path) -> None:
    rows = [
        row("a password is hunter2"),
        row("a password is hunter2"),
        *(row(written(at)) for at in range(3)),
    ]
    select(rows, tmp_path)
    told = (tmp_path / "report.json").read_text("utf-8")
    assert "hunter2" not in told
    assert (tmp_path / "rows").stat().st_mode & 0o777 == 0o700
    assert json.loads(told)["left_out"] == {REPEATED: 1}


@given(
    links=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=2, max_size=40),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 5),
)
def test_no_document_is_on_both_sides(links: list[list[int]], share: float, seed: int) -> None:
    connected = Connected()
    for link in links:
        connected.add(map(str, link))
    sizes = connected.sizes()
    assert sizes.total() == len(links)
    if len(sizes) < 2:
        with pytest.raises(UsageError, match="connected"):
            held_back(connected, share, seed)
        return
    held = held_back(connected, share, seed)
    sides = [{connected.root(str(document)) in held for document in link} for link in links]
    assert all(len(side) == 1 for side in sides)
    assert 0 < len(held) < len(sizes)


def test_holds_back_the_share_that_was_asked_for(tmp_path: Path) -> None:
    rows = [row(written(at), f"document {at // 2}") for at in range(200)]
    report = select(rows, tmp_path, held=0.2)
    assert report["held"] == pytest.approx(40, abs=2)
    assert report["documents"] == {"train": 100 - report["held"] // 2, "held": report["held"] // 2}
    assert select(rows, tmp_path / "none", held=0)["held"] == 0


def test_the_same_seed_splits_the_same_way_and_another_one_does_not(tmp_path: Path) -> None:
    rows = [row(written(at)) for at in range(50)]
    first, again, other = (select(rows, tmp_path / str(at), seed=seed) for at, seed in enumerate((1, 1, 2)))
    assert first["sha256"] == again["sha256"] != other["sha256"]
    assert ids(tmp_path / "0", "held") == ids(tmp_path / "1", "held")


def test_a_killed_run_makes_the_same_rows_and_a_finished_one_none(tmp_path: Path) -> None:
    rows = [row(written(at)) for at in range(50)]
    whole = select(rows, tmp_path / "whole")

    def killed() -> Iterator[Row]:
        yield from rows[:30]
        raise KeyboardInterrupt

    class Killed(Listed):
        def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
            return killed()

    selector = Selector(TINA, POLICY, Selection(held=0.2))
    with pytest.raises(KeyboardInterrupt):
        selector.select(Killed([]), "text", tmp_path / "cut")
    assert selector.select(Listed(rows), "text", tmp_path / "cut") == whole
    assert selector.select(Listed([]), "text", tmp_path / "cut") == whole, "what is done is not done again"
    assert not list((tmp_path / "cut").rglob("*.draft"))


def test_says_who_may_use_what_learns_from_the_rows(tmp_path: Path) -> None:
    both = Caller("tina", ["trainer"], groups=["legal", "hr"], clearance=2)
    rows = [
        row(written(0), permissions=Permissions(readers=("g:hr", "g:legal"))),
        row(written(1), permissions=Permissions(readers=("g:hr",), classification=2)),
        row(written(2)),
    ]
    report = select(rows, tmp_path, both, held=0)
    assert report["readers"] == ["g:hr"]
    assert report["reader_sets"] == [["g:hr"], ["g:hr", "g:legal"], ["public"]]
    assert report["classification"] == 2


@pytest.mark.parametrize("settings", [{"held": 1.0}, {"held": -0.1}, {"limit": 0}])
def test_refuses_settings_that_can_not_be_meant(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Allowed:"):
        Selection(**settings)


def test_takes_the_first_rows_of_a_limit(tmp_path: Path) -> None:
    rows = [row(written(at)) for at in range(50)]
    report = select(rows, tmp_path, limit=10)
    assert report["rows"] + report["held"] == 10
    assert {*ids(tmp_path, "train"), *ids(tmp_path, "held")} == {each["id"] for each in rows[:10]}


def test_reads_records_with_their_own_readers_and_reports_what_is_none(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    lines = [{"text": written(at)} for at in range(3)]
    lines += [{"text": written(7), "readers": []}, {"text": written(8), "readers": ["g:hr"]}, {"body": "x"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{torn", "utf-8")
    selector = Selector(TINA, POLICY, Selection())
    report = selector.select(Jsonl(str(file), readers=["public"]), "text", tmp_path / "run")
    assert report["left_out"] == {
        UNKNOWN_READERS: 1,
        UNREADABLE: 1,
        "has the fields of no layout": 1,
        "is no JSON object": 1,
    }
    examples = report["sources"]["data.jsonl"]["left_out"]["is no JSON object"]["examples"]
    assert examples == [f"{file}#L7"]


def test_a_record_that_is_no_good_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    good = [{"prompt": written(at), "completion": "x"} for at in range(3)]
    bad = [
        {"prompt": "half \ud83d", "completion": "x"},
        {"prompt": "whole", "completion": "x", "documents": ["\udc00"]},
        {"system": 5, "prompt": "whole", "completion": "x"},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in (*bad, *good)), "utf-8")
    source = Jsonl(str(file), readers=["public"])
    report = Selector(TINA, POLICY, Selection()).select(source, "chat", tmp_path / "run")
    assert report["rows"] + report["held"] == len(good)
    assert report["left_out"] == {HALVES: 2, "has a system prompt that is no text": 1}


def test_a_file_whose_readers_nobody_names_gives_no_row(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps({"text": "x y z"}), "utf-8")
    with pytest.raises(UsageError, match=r"1 nobody is known who may read it.*\n.*data.readers=\[public\]"):
        Selector(TINA, POLICY, Selection()).select(Jsonl(str(file)), "text", tmp_path / "run")


def test_renames_columns_and_finds_the_final_answer(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    asked = [{"q": "2+2?", "a": "Two and two.\n#### 4"}, {"q": "2+3?", "a": 5}]
    file.write_text(json.dumps(asked), "utf-8")
    source = Jsonl(str(file), {"question": "q", "answer": "a"}, ["public"], final="####")
    (task,) = source.rows("task", TINA, lambda *_: None)
    assert (task["reference"], task["documents"]) == (["4"], [f"{file}#1"])
    (chat,) = source.rows("chat", TINA, lambda *_: None)
    assert chat["completion"] == "Two and two.\n#### 4"
    with pytest.raises(UsageError, match=r"which needs messages, chosen, rejected. Its fields: "):
        list(source.rows("pair", TINA, lambda *_: None))


def test_rows_that_were_written_are_read_back_as_they_are(tmp_path: Path) -> None:
    rows = [
        row(written(at), permissions=Permissions(readers=("g:legal",), classification=1)) for at in range(6)
    ]
    select(rows, tmp_path, held=0)
    back = list(Jsonl(str(tmp_path / "rows/train.jsonl"), readers=["public"]).rows("text", TINA, print))
    assert [each | {"source": "listed"} for each in back] == rows


def test_what_else_answers_a_question_is_read_back_too(tmp_path: Path) -> None:
    asked = {"query": "Who pays?", "positive": "The user pays.", "negatives": [], "right": ["a" * 64]}
    file = tmp_path / "asked.jsonl"
    file.write_text(json.dumps(asked), "utf-8")
    (read,) = Jsonl(str(file), readers=["public"]).rows("search", TINA, print)
    assert read["right"] == asked["right"]
