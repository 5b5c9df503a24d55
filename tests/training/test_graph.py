"""The training graph as an app, or LangGraph Studio, runs it: a plan, a word, a gate, and who may."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from markgraph.build import Graph, build_graph, compose
from markgraph.errors import ConfigError, DeniedError, UsageError
from markgraph.models.cards import Card, lineage, may_use
from markgraph.models.registry import Registry
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.training.begin import hash_of
from markgraph.verification.wrapped import node_of
from tests.engines.tiny import tiny_llama
from tests.training.runs import NAME, losses, read, rows, settings, write_rows

TRAINER = Caller("tom", ("trainer",))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def chosen(model: str, tmp_path: Path) -> list[str]:
    return settings(model, write_rows(tmp_path / "rows.jsonl", rows()))


def graph_of(chosen: list[str], *overrides: str) -> Graph:
    return build_graph(compose("train", [*chosen, "audit=none", *overrides]), checkpoint=InMemorySaver())


def thread(run: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run}}


def planned(graph: Graph, run: str = "r", caller: Caller = TRAINER) -> Mapping[str, Any]:
    """Return what a person is asked."""
    state = graph.invoke({"run": run}, thread(run), context=caller)
    (asked,) = state["__interrupt__"]
    return asked.value  # type: ignore[no-any-return]


def trained(graph: Graph, run: str = "r", caller: Caller = TRAINER) -> Mapping[str, Any]:
    planned(graph, run, caller)
    return graph.invoke(Command(resume=True), thread(run), context=caller)


def test_the_plan_counts_what_the_training_then_does_and_trains_nothing(
    chosen: list[str], home: Path
) -> None:
    graph = graph_of(chosen)
    asked = planned(graph)
    assert asked["question"] == "May this be trained?"
    plan = asked["plan"]
    (stage,) = plan["stages"]
    folder = home / "training" / "r"
    assert plan == read(folder / "plan.json")
    assert (stage["stage"], stage["method"]) == ("train", "sft")
    assert stage["rows"] + stage["held"] == len(rows())
    assert stage["steps"] == -(-stage["rows"] // 8)
    assert stage["tokens"] > 10 * stage["rows"]
    assert plan["peak_bytes"] > 100 * 2**20
    assert plan["seconds"] == pytest.approx(stage["seconds_per_step"] * stage["steps"])
    assert not {"model", "checkpoints", "probe", "log.jsonl"} & {each.name for each in folder.iterdir()}
    assert Registry(home / "models").names() == []

    report = graph.invoke(Command(resume=True), thread("r"), context=TRAINER)
    assert report["trained"]["train"]["steps"] == stage["steps"] == losses(folder)[-1][0]
    assert losses(folder)[-1][1] < losses(folder)[0][1] - 1
    assert report["verdict"]["accepted"]
    assert report["verdict"] == read(folder / "verdict.json")
    assert (folder / "plots" / "loss.png").stat().st_size > 1000


def test_what_is_registered_says_what_it_was_made_of(chosen: list[str], home: Path) -> None:
    report = trained(graph_of(chosen, "name=notices"))
    assert report["registered"] == {"name": "notices", "version": 1, "alias": "challenger"}
    card = Registry(home / "models").get("notices", "challenger").card
    learned = {
        row["id"]: row["documents"] for row in read_rows(home / "training" / "r" / "rows" / "train.jsonl")
    }
    assert set(card.rows) == set(learned)
    assert set(card.documents) == {name for names in learned.values() for name in names}
    assert (card.method, card.by, card.run) == ("sft", "tom", "r")
    assert card.config == report["plan"]["config_hash"]
    assert card.verdict["differences"]["completion_logp"]["low"] > 0


def read_rows(place: Path) -> list[dict[str, Any]]:
    return [yaml.safe_load(line) for line in place.read_text("utf-8").splitlines()]


def test_the_hash_of_the_config_is_that_of_what_matters(chosen: list[str], tmp_path: Path) -> None:
    def hash_with(*overrides: str) -> str:
        plan: Any = node_of(graph_of(chosen, *overrides).builder.nodes["plan"].runnable)
        return hash_of(plan.settings)

    usual = hash_with()
    assert usual == hash_with(f"data_dir={tmp_path / 'elsewhere'}", "tracker=tensorboard")
    for change in ("seed=1", "method.weight_decay=0.1", "data=questions", "graph.compare.guards={loss: 0.1}"):
        assert hash_with(change) != usual, change


def test_who_declines_trains_nothing(chosen: list[str], home: Path) -> None:
    graph = graph_of(chosen)
    planned(graph)
    report = graph.invoke(Command(resume="yes"), thread("r"), context=TRAINER)
    assert report["approved"] is False, "nothing but True is a yes"
    assert not report["trained"]
    assert not (home / "training" / "r" / "checkpoints").exists()
    assert graph.get_state(thread("r")).next == ()


@pytest.mark.parametrize(
    ("caller", "why"),
    [
        (Caller(), "Nobody is asking"),
        (Caller("rita", ("reader", "writer")), "it needs permission 'graph:run' for graph:train"),
        (Caller("tom", ("trainer",), scopes=("graph:run",)), "'models:train'"),
    ],
)
def test_who_may_not_train_is_refused_before_anything_is_written(
    chosen: list[str], home: Path, caller: Caller, why: str
) -> None:
    with pytest.raises(DeniedError, match=why):
        graph_of(chosen).invoke({"run": "r"}, thread("r"), context=caller)
    assert not home.exists()


def test_a_plan_that_waits_is_confirmed_by_nobody_else(chosen: list[str], home: Path) -> None:
    graph = graph_of(chosen)
    planned(graph)
    with pytest.raises(DeniedError, match="belongs to somebody else"):
        graph.invoke(Command(resume=True), thread("r"), context=Caller("eve", ("trainer",)))
    assert not (home / "training" / "r" / "checkpoints").exists()


def test_nobody_trains_under_the_name_of_what_they_may_not_use(
    chosen: list[str], model: str, home: Path
) -> None:
    closed = [{"id": "e" * 64, "documents": ["contract.md"], "readers": ["g:legal"]}]
    learned = lineage(closed, "default")._asdict()
    card = Card(**learned, method="sft", run="r0", by="ada", tenant="default", config="c" * 64)
    registry, weights = Registry(home / "models"), Path(model.removeprefix("file:"))
    registry.promote("law", registry.add("law", weights, card))
    registry.add("tax", weights, card.model_copy(update={"tenant": "other"}))
    for name, why in (("law", "'tom' may not use law@1"), ("tax", "another tenant's model")):
        with pytest.raises(DeniedError, match=why):
            planned(graph_of(chosen, f"name={name}"))
    assert not (home / "training").exists()


def test_a_document_that_is_removed_while_a_model_learns_from_it_marks_the_model(
    chosen: list[str], home: Path
) -> None:
    graph, registry = graph_of(chosen, "name=notices"), Registry(home / "models")
    planned(graph)
    first, second, *_ = (
        row["documents"][0] for row in read_rows(home / "training" / "r" / "rows" / "train.jsonl")
    )
    boss = Permissions("default", ("u:boss",))
    registry.note("default", {first: None, second: boss, "other": None})
    registry.note("else", {second: None})
    graph.invoke(Command(resume=True), thread("r"), context=TRAINER)
    assert {(each.document, each.what) for each in registry.changes("notices", 1)} == {
        (first, "removed"),
        (second, "permitted"),
    }
    assert not may_use(TRAINER, registry.audience("notices", 1)), "only the boss may read all of it now"
    assert list((home / "models" / ".learning").iterdir()) == []


def test_who_may_no_longer_register_does_not(chosen: list[str], home: Path) -> None:
    scopes = ("graph:run", "models:train", "documents:train")
    with pytest.raises(DeniedError, match="'models:register'"):
        trained(graph_of(chosen), caller=Caller("tom", ("trainer",), scopes=scopes))
    assert Registry(home / "models").names() == []


def test_a_run_has_a_folder_of_its_own(chosen: list[str]) -> None:
    planned(graph_of(chosen))
    with pytest.raises(UsageError, match="There is a run 'r' already"):
        planned(graph_of(chosen))
    with pytest.raises(UsageError, match=r"A run can't be called '\.\./r'"):
        planned(graph_of(chosen), run="../r")


def test_a_candidate_that_learned_from_shuffled_rows_is_refused(
    chosen: list[str], model: str, home: Path, tmp_path: Path
) -> None:
    judged = write_rows(tmp_path / "judged.jsonl", rows(300)[240:])
    gate = [f"graph.evaluate.rows={judged}", "scored=40", "name=notices", "method.epochs=4"]
    good = trained(graph_of(chosen, *gate))
    assert (good["verdict"]["accepted"], good["verdict"]["rows"]) == (True, 40)
    Registry(home / "models").promote("notices")

    poisoned = settings(model, write_rows(tmp_path / "poisoned.jsonl", rows(shuffled=True)))
    bad = trained(graph_of(poisoned, *gate), run="bad")
    assert not bad["verdict"]["accepted"]
    assert bad["verdict"]["differences"]["completion_logp"]["high"] < 0
    assert bad["registered"] == {}
    assert Registry(home / "models").aliases("notices") == {"champion": 1}


def test_a_training_that_diverges_is_refused_and_every_file_of_it_is_json(
    chosen: list[str], home: Path
) -> None:
    report = trained(graph_of(chosen, "method.learning_rate=1e30"))
    assert report["trained"]["train"]["diverged"]
    assert not report["verdict"]["accepted"]
    assert report["verdict"]["reasons"][0].startswith("train: its training has diverged, the last loss is")
    assert report["registered"] == {}
    assert Registry(home / "models").names() == []
    folder = home / "training" / "r"
    files = [*folder.glob("*.json"), *folder.glob("scores/*.json"), folder / "log.jsonl"]
    assert {"trained.json", "verdict.json", "candidate.json"} <= {file.name for file in files}
    for file in files:
        texts = file.read_text("utf-8").splitlines() if file.suffix == ".jsonl" else [file.read_text("utf-8")]
        for text in texts:
            json.loads(text, parse_constant=pytest.fail)


def test_without_rows_held_back_the_judged_ones_are_scored_and_served_as_trained(
    chosen: list[str], home: Path, tmp_path: Path
) -> None:
    judged = tmp_path / "judged.jsonl"
    plain = [
        {"prompt": each["messages"][0]["content"], "completion": each["completion"]}
        for each in rows(300)[240:]
    ]
    judged.write_text("\n".join(json.dumps(each) + "\n" for each in plain), "utf-8")
    report = trained(graph_of(chosen, "graph.prepare.held=0", f"graph.evaluate.rows={judged}"))
    assert (report["verdict"]["accepted"], report["verdict"]["rows"]) == (True, 60)
    parity = Registry(home / "models").get(NAME, "challenger").card.parity
    assert parity is not None
    assert parity["rows"] == 8


def test_settings_that_can_not_be_are_refused(chosen: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"graph\.plan\.steps is 1"):
        graph_of(chosen, "graph.plan.steps=1")
    with pytest.raises(ConfigError, match="'epcohs'"):
        graph_of(chosen, "+method.epcohs=1")
