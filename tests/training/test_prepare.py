"""The node that prepares a stage's rows, with a tiny model's own tokens."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from markgraph.build import compose, make_service
from markgraph.errors import ConfigError, DeniedError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.policy import Policy, Resource
from markgraph.training.base import Base
from markgraph.training.data.jsonl import Jsonl
from markgraph.training.data.select import LONG
from markgraph.training.judged import Judged
from markgraph.training.pipeline import Stage
from markgraph.training.prepare import REFUSED, Prepare
from markgraph.training.render import tokens
from markgraph.training.rows import Kind, Row
from markgraph.training.runs import Runs
from markgraph.training.state import TrainState
from tests.engines.tiny import tiny_llama, tiny_mamba

TINA = Caller("tina", ["trainer"])


@dataclass(frozen=True)
class Learns:
    """As much of a method as preparing asks for."""

    kind: Kind = "chat"
    max_tokens: int | None = None


def policy() -> Policy:
    made: Policy = make_service(compose("embed"), "policy")
    return made


def prepare(tmp_path: Path, method: Any, base: Base | None = None, **settings: Any) -> Prepare:
    file = tmp_path / "rows.jsonl"
    tmp_path.mkdir(exist_ok=True)
    lines = [{"prompt": f"Who pays notice {at} of {at}?", "completion": f"user {at}"} for at in range(20)]
    lines.append({"prompt": "Who pays?", "completion": "the user " * 60})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    stage = Stage(method, Jsonl(str(file), readers=["public"]))
    runs = Runs(tmp_path / "training")
    base = base or Base("tiny", tiny_llama(tmp_path / "llama"))
    return Prepare(stage, runs, base, 0, policy(), **settings)


def run(node: Prepare, caller: Caller) -> Any:
    """Run the node as LangGraph does."""
    graph = StateGraph(TrainState, Caller)
    graph.add_node("prepare", node.__call__)
    graph.add_edge(START, "prepare")
    graph.add_edge("prepare", END)
    state: Any = {"run": "r1", "prepared": {}}
    return graph.compile().invoke(state, context=caller)["prepared"]["train"]


def read_rows(place: Path) -> list[Row]:
    return [json.loads(line) for line in place.read_text("utf-8").splitlines()]


def test_leaves_out_rows_with_more_tokens_than_the_method_takes(tmp_path: Path) -> None:
    base = Base("tiny", tiny_llama(tmp_path / "llama"))
    node = prepare(tmp_path, Learns(max_tokens=80), base)
    done = run(node, TINA)
    assert done["left_out"] == {LONG: 1}
    assert done["rows"] + done["held"] == 20
    folder = tmp_path / "training" / "r1" / "rows"
    longest = max(len(tokens(base, row, row["completion"]).ids) for row in read_rows(folder / "train.jsonl"))
    assert longest <= 80
    tight = prepare(tmp_path / "tight", Learns(max_tokens=longest - 1), base)
    assert run(tight, TINA)["left_out"][LONG] > 1


def test_a_model_s_window_bounds_rows_too_and_a_recurrent_one_has_none(tmp_path: Path) -> None:
    narrow = Base("tiny", tiny_llama(tmp_path / "narrow", window=80))
    assert run(prepare(tmp_path, Learns(), narrow), TINA)["left_out"] == {LONG: 1}
    recurrent = Base("tiny", tiny_mamba(tmp_path / "mamba"))
    assert run(prepare(tmp_path / "m", Learns(), recurrent), TINA)["left_out"] == {}


ALTERNATE = """{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate') }}{% endif %}{{ m.role }}: {{ m.content }}
{% endfor %}"""


@pytest.mark.parametrize("max_tokens", [None, 400])
def test_leaves_out_turns_that_the_chat_template_does_not_take(
    tmp_path: Path, max_tokens: int | None
) -> None:
    base = Base("strict", tiny_mamba(tmp_path / "strict"))
    base.tokenizer.chat_template = ALTERNATE
    node = prepare(tmp_path, Learns(max_tokens=max_tokens), base)
    told = {"system": "Be brief.", "prompt": "Who pays?", "completion": "the user"}
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")
    assert run(node, TINA)["left_out"][REFUSED] == 1

    judged = tmp_path / "judged.jsonl"
    judged.write_text(json.dumps(told), "utf-8")
    strict = prepare(tmp_path / "judged", Learns(), base, judged=Judged(judged, "chat"))
    with pytest.raises(UsageError, match=f"judged.jsonl#L1: {REFUSED}"):
        run(strict, TINA)


def test_a_base_that_can_not_chat_is_an_error_and_no_row_s_fault(tmp_path: Path) -> None:
    base = Base("mute", tiny_llama(tmp_path / "mute"))
    base.tokenizer.chat_template = None
    with pytest.raises(UsageError, match="has no chat template"):
        run(prepare(tmp_path, Learns(), base), TINA)


def test_text_is_packed_and_so_has_no_length_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    lines = [f"notice {at} of the controller of {at} and {at}" for at in range(9)] + ["of the user " * 400]
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), "utf-8")
    stage = Stage(Learns("text", 50), Jsonl(str(file), readers=["public"]))  # type: ignore[arg-type]
    node = Prepare(stage, Runs(tmp_path), Base("none", "file:/nowhere"), 0, policy())
    assert run(node, TINA)["left_out"] == {}


def test_the_state_says_what_the_files_hold(tmp_path: Path) -> None:
    done = run(prepare(tmp_path, Learns()), TINA)
    folder = tmp_path / "training" / "r1"
    for name, digest in done["sha256"].items():
        assert sha256((folder / "rows" / name).read_bytes()).hexdigest() == digest
    assert len(read_rows(folder / "rows" / "train.jsonl")) == done["rows"]
    assert len(read_rows(folder / "rows" / "held.jsonl")) == done["held"] > 0
    assert json.loads((folder / "report.json").read_text("utf-8"))["readers"] == ["public"]


def test_wrong_settings_are_an_error_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"held is 2. Allowed"):
        prepare(tmp_path, Learns(), held=2)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("trainer", {"documents:train", "models:train", "models:register", "feedback:read"}),
        ("admin", {"models:register"}),
        ("reader", set()),
        ("writer", set()),
        ("auditor", set()),
    ],
)
def test_the_default_policy_lets_trainers_train(role: str, may: set[str]) -> None:
    asked = ("documents:train", "models:train", "models:register", "feedback:read")
    caller = Caller("ada", [role])
    assert {each for each in asked if policy().check(caller, each, Resource("model")).allowed} == may


def test_the_strict_policy_keeps_registering_from_those_who_train() -> None:
    strict: Policy = make_service(compose("embed", ["auth/policy=strict"]), "policy")
    strict.require(Caller("ada", ["trainer"]), "models:train", Resource("model"))
    with pytest.raises(DeniedError, match="admin"):
        strict.require(Caller("ada", ["trainer"]), "models:register", Resource("model"))


def judged_by(tmp_path: Path, *lines: str) -> Any:
    """Return what preparing tells of a run that is judged by these lines."""
    file = tmp_path / "judged.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    return run(prepare(tmp_path, Learns(), judged=Judged(file, "chat")), TINA)


def test_judged_rows_may_have_any_layout_and_blank_lines(tmp_path: Path) -> None:
    plain, own = {"prompt": "Who pays?", "completion": "the user"}, {"question": "Who?", "answer": "nobody"}
    assert judged_by(tmp_path, json.dumps(plain), "", json.dumps(own))["rows"]
    rows = Judged(tmp_path / "judged.jsonl", "chat").rows(TINA)
    assert [each["completion"] for each in rows] == ["the user", "nobody"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{torn", "is no JSON object"),
        ('{"body": "x"}', "has the fields of no layout"),
        ('{"text": "the user pays"}', "has nothing to make a row of kind chat of"),
        (json.dumps({"prompt": "Who?", "completion": "user " * 600}), "too many tokens"),
    ],
)
def test_a_judged_row_that_is_no_good_is_told_by_its_line_before_anything_is_planned(
    tmp_path: Path, line: str, why: str
) -> None:
    good = json.dumps({"prompt": "Who pays?", "completion": "the user"})
    with pytest.raises(UsageError, match=rf"graph.evaluate.rows: .*judged.jsonl#L3: {why}\. Allowed: "):
        judged_by(tmp_path, good, "", line)
    assert not (tmp_path / "training" / "r1" / "report.json").exists()


def test_a_file_of_no_judged_rows_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"judged.jsonl holds no row. Allowed: JSON lines"):
        judged_by(tmp_path, "")
