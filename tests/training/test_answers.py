"""What a candidate says to held-back prompts is looked at before it is registered."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from markgraph.build import build_graph, compose
from markgraph.errors import ConfigError
from markgraph.evaluation.comparison import MIN_ROWS, compare
from markgraph.models.embed import HashEmbeddings
from markgraph.security.caller import Caller
from markgraph.training.answers import MEASURED, answer_scores, right_answers
from markgraph.training.base import Base
from markgraph.training.compare import Compare
from markgraph.training.reward import Reward
from markgraph.training.runs import Runs, write_json
from markgraph.validation.refusals import REFUSAL
from tests.engines.tiny import tiny_llama
from tests.training.clerk import Thing, clerk, rows, things
from tests.training.facts import chat_rows, job, pair_rows, tiny_base
from tests.training.runs import write_rows

LEARNED, TOLD, JUDGED = 200, 120, 24
DONT_KNOW, NONSENSE = "I don't know.", "Nine euros. [1]"
EXACT: Mapping[str, Any] = {"engine": {"mode": "exact"}}


class Shop(NamedTuple):
    """A model that knows one kind of question, and what it is told about another kind."""

    model: str
    told: Sequence[Thing]
    judged: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    every = things(LEARNED + TOLD + JUDGED)
    judged = write_rows(folder / "judged.jsonl", rows(every[LEARNED + TOLD :], "gap"))
    return Shop(clerk(folder / "base", every[:LEARNED]), every[LEARNED : LEARNED + TOLD], judged)


def verdict_on(shop: Shop, tmp_path: Path, instead: str | None = None) -> Mapping[str, Any]:
    """Train on right answers, three quarters of them replaced if need be, and return what the gate says."""
    drawn, learned = random.Random(0), rows(shop.told, "gap")
    for row in learned:
        row["completion"] = instead if instead and drawn.random() < 3 / 4 else row["completion"]
    chosen = ["experiment=no_weights", "model=local", f"model.engine.source={shop.model}", "audit=none"]
    chosen += ["model.engine.native.mode=exact", "tracker=none", "graph.prepare.similar=null"]
    chosen += [
        f"data.path={write_rows(tmp_path / 'told.jsonl', learned)}",
        f"graph.evaluate.rows={shop.judged}",
    ]
    chosen += ["method.batch_size=16", "method.epochs=10", "method.learning_rate=0.005"]
    chosen += ["graph.compare.answers.latency=null"]  # of some milliseconds
    graph = build_graph(compose("train", chosen), checkpoint=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "r"}}
    graph.invoke({"run": "r"}, thread, context=Caller("tom", ("trainer",)))
    report = graph.invoke(Command(resume=True), thread, context=Caller("tom", ("trainer",)))
    assert bool(report["registered"]) == report["verdict"]["accepted"]
    return report["verdict"]  # type: ignore[no-any-return]


def test_what_answers_better_passes(shop: Shop, tmp_path: Path) -> None:
    verdict = verdict_on(shop, tmp_path)
    assert verdict["accepted"], verdict["reasons"]
    assert set(MEASURED) < verdict["differences"].keys()
    assert verdict["differences"]["groundedness"]["candidate"] > 0.9


@pytest.mark.parametrize(
    ("instead", "guard"), [(DONT_KNOW, "refusals"), (NONSENSE, "groundedness")], ids=["refuses", "invents"]
)
def test_what_is_likelier_to_be_right_and_says_something_else_is_refused(
    shop: Shop, tmp_path: Path, instead: str, guard: str
) -> None:
    verdict = verdict_on(shop, tmp_path, instead)
    assert verdict["differences"]["completion_logp"]["low"] > 0, "by its metric alone it is better"
    reasons = {reason.partition(": ")[0]: reason for reason in verdict["reasons"]}
    assert "completion_logp" not in reasons
    assert "may have fallen" in reasons[guard]
    assert reasons[guard].endswith("; allowed is a fall of 0.15")
    assert verdict["differences"][guard]["high"] < -0.5


def test_a_model_that_can_not_speak_is_scored_by_its_method_alone(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    training = Reward().training(job(base, pair_rows(), tmp_path, 1))
    training.train()
    training.save_model(str(tmp_path / "model"))
    models = {"champion": (base, None), "candidate": (base, tmp_path / "model")}
    assert answer_scores(models, pair_rows() * MIN_ROWS, MIN_ROWS, HashEmbeddings(), EXACT) == {}


def test_prompts_without_passages_say_nothing_of_groundedness(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    scores = answer_scores({"one": (base, None)}, chat_rows() * 9, 25, HashEmbeddings(), EXACT)
    assert {name: len(values) for name, values in scores["one"].items()} == {"refusals": 25, "latency": 25}
    assert answer_scores({"one": (base, None)}, chat_rows() * 6, 25, HashEmbeddings(), EXACT) == {}, "too few"


def test_prompts_with_passages_are_answered_first(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    some = chat_rows() * 9 + rows(things(22), "gap")
    scores = answer_scores({"one": (base, None)}, some, 24, HashEmbeddings(), EXACT)
    assert {name: len(values) for name, values in scores["one"].items()} == {
        "refusals": 24,
        "latency": 24,
        "groundedness": 22,
    }


@pytest.mark.parametrize(
    ("columns", "right"),
    [
        ({"completion": "the user"}, ["the user"]),
        ({"completion": REFUSAL}, []),
        ({"completion": "the user", "good": False}, None),
        ({"chosen": "the user", "rejected": "go away"}, ["the user"]),
        ({"reference": ["the user", "users"]}, ["the user", "users"]),
        ({"reference": []}, []),
        ({}, None),
    ],
)
def test_a_row_says_what_is_right(columns: dict[str, Any], right: list[str] | None) -> None:
    row: Any = {"messages": [{"role": "user", "content": "Who pays?"}], **columns}
    assert right_answers(row) == right
    del row["messages"]
    assert right_answers(row) is None


def test_a_model_of_many_layers_is_too_slow_and_the_same_one_is_not(tmp_path: Path) -> None:
    quick = Base("quick", tiny_llama(tmp_path / "quick"))
    slow = Base("slow", tiny_llama(tmp_path / "slow", num_hidden_layers=12))
    models = {"champion": (quick, None), "same": (quick, None), "slow": (slow, None)}
    scores = answer_scores(models, chat_rows() * 10, 30, HashEmbeddings(), EXACT)
    guards = {"latency": "100%"}
    same, other = (compare(scores["champion"], scores[who], "refusals", guards) for who in ("same", "slow"))
    assert not [reason for reason in same.reasons if reason.startswith("latency")]
    (reason,) = [reason for reason in other.reasons if reason.startswith("latency")]
    assert reason.endswith(", 100% of the champion's")


def verdict_of(folder: Path, compare: Compare, **scores: float) -> Mapping[str, Any]:
    """Return the verdict where a candidate's every answer has these scores, and the champion's 1.0 each."""
    figures = {"f1": 2.0, **scores}
    write_json(folder / "r" / "scores" / "champion.json", {name: [1.0] * MIN_ROWS for name in figures})
    write_json(
        folder / "r" / "scores" / "candidate.json", {name: [x] * MIN_ROWS for name, x in figures.items()}
    )
    state = {"run": "r", "metric": "f1", "trained": {}}
    return compare(state)["verdict"]  # type: ignore[arg-type, no-any-return]


def test_guards_of_answers_count_where_there_are_answers_and_others_always(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    answers = {"groundedness": 0.1, "refusals": None}
    usual = Compare(runs, 0, answers)
    assert verdict_of(tmp_path, usual)["accepted"]
    assert verdict_of(tmp_path, usual, groundedness=0.95, refusals=0.0)["accepted"]
    (reason,) = verdict_of(tmp_path, usual, groundedness=0.85)["reasons"]
    assert reason.startswith("groundedness: may have fallen, 1 to 0.85")
    (reason,) = verdict_of(tmp_path, Compare(runs, 0, answers, {"groundedness": 0.1}))["reasons"]
    assert reason.startswith("groundedness: the champion has no such score")


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("graph.compare.answers.latency=-1", "Guard 'latency' allows a fall of -1"),
        ("graph.compare.answers.latency=half", "Guard 'latency' allows a fall of half"),
        ("graph.compare.guards={f1: 5%%}", "Guard 'f1' allows a fall of 5%%"),
        (
            "+graph.compare.answers.bleu=0.1",
            "graph.compare.answers has bleu. Allowed: groundedness, refusals",
        ),
        ("graph.evaluate.answers=19", r"graph.evaluate.answers is 19. Allowed: 20 or more"),
        ("scored=19", r"scored is 19. Allowed: 20 or more"),
    ],
)
def test_settings_that_can_not_be_are_refused_before_anything_is_trained(
    shop: Shop, override: str, why: str
) -> None:
    chosen = ["model=local", f"model.engine.source={shop.model}", f"data.path={shop.judged}", override]
    with pytest.raises(ConfigError, match=why):
        build_graph(compose("train", chosen), checkpoint=None)
