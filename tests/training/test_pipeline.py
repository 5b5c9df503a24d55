"""Several trainings in one run: each stage's model is what the next one starts from, or is rewarded by."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from markgraph.build import Graph, build_graph, compose
from markgraph.errors import ConfigError
from markgraph.models.registry import Registry
from markgraph.security.caller import Caller
from markgraph.training.base import Base
from markgraph.training.data.jsonl import Jsonl
from markgraph.training.dpo import Dpo
from markgraph.training.embedder import Embedder
from markgraph.training.graph import name_of
from markgraph.training.pipeline import Stage, based_on, origin_of, pipeline, single
from markgraph.training.pretrain import Pretrain
from markgraph.training.scoring import load
from markgraph.training.sft import Sft
from tests.engines.tiny import tiny_llama
from tests.training.runs import rows

TRAINER = Caller("tom", ("trainer",))
THREAD: RunnableConfig = {"configurable": {"thread_id": "r"}}
FEW = 90


def write_kinds(folder: Path) -> dict[str, Path]:
    """Write the same facts as rows of each kind that a pipeline learns from."""
    plain: list[dict[str, Any]] = [dict(row) for row in rows(FEW)]
    for row in plain:
        row |= {"chosen": row["completion"], "rejected": "notices", "reference": [row["completion"]]}
    needed = {"chat": ["completion"], "pair": ["chosen", "rejected"], "task": ["reference"]}
    common = ["id", "source", "documents", "readers", "messages"]
    places = {kind: folder / f"{kind}.jsonl" for kind in needed}
    for kind, columns in needed.items():
        some = [{key: row[key] for key in (*common, *columns)} for row in plain]
        places[kind].write_text("".join(json.dumps(row) + "\n" for row in some), "utf-8")
    return places


def graph_of(tmp_path: Path, name: str, *overrides: str) -> Graph:
    model = f"model.engine.source={tiny_llama(tmp_path / 'tiny')}"
    plain = ["model=local", model, "tracker=none", "audit=none", "graph.prepare.similar=null"]
    plain += ["graph.compare.answers.latency=null"]  # of some milliseconds
    config = compose("train", [f"pipeline={name}", *plain, *overrides])
    return build_graph(config, checkpoint=InMemorySaver())


def run(graph: Graph) -> dict[str, Any]:
    graph.invoke({"run": "r"}, THREAD, context=TRAINER)
    return graph.invoke(Command(resume=True), THREAD, context=TRAINER)


@pytest.mark.slow
def test_what_people_prefer_is_learned_then_rewarded(tmp_path: Path, home: Path) -> None:
    kinds = write_kinds(tmp_path)
    fast = {"sft": "batch_size=16", "reward": "batch_size=16", "ppo": "batch_size=16"}
    data = {"sft": kinds["chat"], "reward": kinds["pair"], "ppo": kinds["task"]}
    chosen = [f"pipeline.{stage}.method.{setting}" for stage, setting in fast.items()]
    chosen += [f"pipeline.{stage}.method.epochs=1" for stage in fast]
    chosen += [f"pipeline.{stage}.data.path={place}" for stage, place in data.items()]
    graph = graph_of(tmp_path, "rlhf", *chosen, "pipeline.ppo.method.max_new_tokens=8")
    assert [name for name in graph.builder.nodes if name in fast] == ["sft", "reward", "ppo"]

    report = run(graph)
    folder = home / "training" / "r"
    assert [each["stage"] for each in report["plan"]["stages"]] == ["sft", "reward", "ppo"]
    planned = {each["stage"]: each["steps"] for each in report["plan"]["stages"]}
    assert {stage: done["steps"] for stage, done in report["trained"].items()} == planned
    assert report["metric"] == "reward"
    source = json.loads((folder / "ppo" / "model" / "adapter_config.json").read_text("utf-8"))
    assert "merged" in source["base_model_name_or_path"], "PPO went on from the fine-tuned model"
    assert report["scores"]["candidate"].keys() == report["scores"]["champion"].keys()


def test_a_stage_goes_on_from_the_model_of_the_one_before(tmp_path: Path, home: Path) -> None:
    kinds = write_kinds(tmp_path)
    chosen = [f"pipeline.sft.data.path={kinds['chat']}", f"pipeline.dpo.data.path={kinds['pair']}"]
    chosen += [f"pipeline.{stage}.method.epochs=1" for stage in ("sft", "dpo")]
    chosen += ["pipeline.sft.method.learning_rate=0.01", "pipeline.dpo.method.learning_rate=0.01"]
    report = run(graph_of(tmp_path, "preference", *chosen, "name=both", "graph.prepare.held=0.3"))
    assert report["verdict"]["accepted"], report["verdict"]["reasons"]
    assert report["registered"]["name"] == "both"

    base, folder = Base("tiny", f"file:{tmp_path / 'tiny'}"), home / "training" / "r"
    tuned = based_on(base, folder / "sft" / "model")
    both = based_on(tuned, folder / "dpo" / "model")
    card = Registry(home / "models").get("both", 1)
    assert (card.kind, card.card.method) == ("model", "sft+dpo")
    served = load(base, Registry(home / "models").weights("both", 1)).state_dict()
    expected, before = load(base, both.folder).state_dict(), load(base, tuned.folder).state_dict()
    assert all(served[key].equal(expected[key]) for key in expected)
    assert not all(served[key].equal(before[key]) for key in expected)


def test_a_stage_can_only_go_on_from_an_earlier_one() -> None:
    first, second = Stage(None, None), Stage(None, None, base="sft")  # type: ignore[arg-type]
    assert [each.name for each in pipeline(sft=first, dpo=second)] == ["sft", "dpo"]
    with pytest.raises(ConfigError, match=r"pipeline\.dpo refers to stage 'sft'\. Allowed: none"):
        pipeline(dpo=second, sft=first)


def test_what_a_model_goes_back_to_is_what_its_first_stage_starts_from(tmp_path: Path) -> None:
    data = Jsonl(str(write_kinds(tmp_path)["chat"]), readers=["public"])
    base, encoder = Base("llama", "file:/llama"), Base("minilm", "file:/minilm")
    chained = pipeline(sft=Stage(Sft(), data), dpo=Stage(Dpo(), data, base="sft"))
    assert origin_of(chained, base) == base
    assert origin_of(single(Embedder(base=encoder), data), base) == encoder
    assert origin_of(single(Pretrain(), data), base) is None
    assert name_of(base, single(Embedder(base=encoder), data)) == "minilm-embedder"
    assert name_of(base, single(Pretrain(), data)) == "pretrain"
