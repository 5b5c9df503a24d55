"""Who may use what learned from restricted documents, seen from the graph that answers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from langgraph.graph import START, StateGraph
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from typing_extensions import TypedDict

from markgraph.build import Graph, load_graph
from markgraph.engines.fallback import FallbackEngine
from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.port import Engine
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import DeniedError
from markgraph.models.cards import Card, lineage
from markgraph.models.chat import LocalChatModel
from markgraph.models.embed import HashEmbeddings
from markgraph.models.registry import Registry
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from tests.engines.tiny import tiny_llama

# PEFT reads a property of transformers by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

PAYMENT = "The customer shall pay each invoice within 30 days of receipt."
ASKED = {"question": "Within how many days must the customer pay an invoice?"}
LAWYER, READER = Caller("ada", ("reader",), groups=("legal",)), Caller("rita", ("reader",))


def card(readers: list[str], run: str = "run-1") -> Card:
    rows = [{"id": "a" * 64, "documents": ["contract.md"], "readers": readers}]
    learned = lineage(rows, "default")._asdict()
    return Card(**learned, method="sft", run=run, by="tina", tenant="default", config="c" * 64)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_llama(folder, window=2048)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        settings: dict[str, Any] = {"target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
        model = AutoModelForCausalLM.from_pretrained(base)
        get_peft_model(model, LoraConfig(r=4, lora_alpha=16, **settings)).save_pretrained(folder)
    return folder


@pytest.fixture
def registry(home: Path, adapter: Path) -> Registry:
    """Return a registry with an adapter in service that learned from what only lawyers may read."""
    registry = Registry(home / "models")
    registry.alias("law", "champion", registry.add("law", adapter, card(["g:legal"])))
    return registry


def native(**settings: Any) -> NativeEngine:
    return NativeEngine(**settings, mode="exact", gate=False, threads=1, speculation="off")


def chat(engine: Engine, **settings: Any) -> LocalChatModel:
    return LocalChatModel(engine=engine, model="tiny", max_tokens=8, **settings)


def graph_of(engine: Engine, tmp_path: Path) -> Graph:
    index = HybridIndex([WordsIndex(tmp_path / "words.sqlite")])
    index.add([Chunk(PAYMENT, "terms.md", "terms.md", 0, len(PAYMENT), readers=("public",))])
    return load_graph("qa", ["domain=none"], model=chat(engine), embedder=HashEmbeddings(), index=index)


def test_the_adapter_answers_those_who_may_read_all_of_it_and_the_base_all_others(
    registry: Registry, base: Path, tmp_path: Path
) -> None:
    engine = native(source=f"file:{base}", adapter="registered:law@champion")
    graph = graph_of(engine, tmp_path)
    assert graph.invoke(ASKED, context=LAWYER)["model"] == "tiny+law@1"
    assert graph.invoke(ASKED, context=READER)["model"] == "tiny"
    assert asyncio.run(graph.ainvoke(ASKED, context=READER))["model"] == "tiny"
    assert asyncio.run(graph.ainvoke(ASKED, context=LAWYER))["model"] == "tiny+law@1"
    with pytest.raises(DeniedError):
        graph.invoke(ASKED, context=Caller())
    engine.close()


class Said(TypedDict, total=False):
    text: str


def said(engine: Engine, caller: Caller, **settings: Any) -> str:
    """Return what a graph of somebody else's, with one node, says to a caller."""
    model = chat(engine, **settings)
    graph = StateGraph(Said, Caller)
    graph.add_node("say", lambda state: {"text": model.invoke("Who pays?").text})
    graph.add_edge(START, "say")
    text: str = graph.compile().invoke({}, context=caller)["text"]
    return text


def test_any_graph_gets_the_words_of_the_base_for_whoever_may_not_use_the_adapter(
    registry: Registry, base: Path, adapter: Path
) -> None:
    bare, adapted = native(source=f"file:{base}"), native(source=f"file:{base}", adapter=f"file:{adapter}")
    engine = native(source=f"file:{base}", adapter="registered:law")
    assert said(engine, READER) == said(bare, READER)
    assert said(engine, LAWYER) == said(adapted, LAWYER) != said(bare, LAWYER)
    for each in (engine, bare, adapted):
        each.close()


@pytest.mark.parametrize("kind", [TransformersEngine, FallbackEngine])
def test_so_does_every_engine(registry: Registry, base: Path, tmp_path: Path, kind: Any) -> None:
    settings = {"native": native} if kind is FallbackEngine else {"dtype": "float32"}
    graph = graph_of(kind(f"file:{base}", adapter="registered:law", **settings), tmp_path)
    assert graph.invoke(ASKED, context=LAWYER)["model"] == "tiny+law@1"
    assert graph.invoke(ASKED, context=READER)["model"] == "tiny"


def test_an_adapter_by_name_is_left_out_for_others(registry: Registry, base: Path, adapter: Path) -> None:
    engine = native(source=f"file:{base}", adapters={"law": "registered:law"})
    bare = native(source=f"file:{base}")
    assert said(engine, LAWYER, adapter="law") != said(bare, LAWYER)
    assert said(engine, READER, adapter="law") == said(bare, READER)
    for each in (engine, bare):
        each.close()


def test_a_whole_model_has_no_base_and_is_denied(registry: Registry, base: Path, tmp_path: Path) -> None:
    registry.add("tax", base, card(["g:tax"], "run-2"))
    engine = native(source="registered:tax@1")
    graph = graph_of(engine, tmp_path)
    with pytest.raises(DeniedError, match=r"'ada' may not use registered:tax@1"):
        graph.invoke(ASKED, context=LAWYER)
    taxman = Caller("tom", ("reader",), groups=("tax",))
    assert graph.invoke(ASKED, context=taxman)["model"] == "tiny+tax@1"
    engine.close()


def test_nobody_uses_it_outside_of_a_run(registry: Registry, base: Path) -> None:
    engine = native(source=f"file:{base}", adapter="registered:law")
    assert chat(engine).invoke("hello").response_metadata["model_name"] == "tiny"
    engine.close()


def test_a_card_that_can_not_be_read_opens_to_nobody(registry: Registry, base: Path, tmp_path: Path) -> None:
    engine = native(source=f"file:{base}", adapter="registered:law")
    graph = graph_of(engine, tmp_path)
    (registry.folder / "law/1/changes.json").write_text("{")
    assert graph.invoke(ASKED, context=LAWYER)["model"] == "tiny"
    engine.close()


def test_a_document_that_was_closed_since_closes_the_adapter(
    registry: Registry, base: Path, tmp_path: Path
) -> None:
    engine = native(source=f"file:{base}", adapter="registered:law")
    graph = graph_of(engine, tmp_path)
    assert graph.invoke(ASKED, context=LAWYER)["model"] == "tiny+law@1"
    registry.note("default", {"contract.md": Permissions("default", ("u:boss",))})
    assert graph.invoke(ASKED, context=LAWYER)["model"] == "tiny"
    engine.close()


def test_another_champion_does_not_open_the_one_that_was_loaded(
    registry: Registry, base: Path, adapter: Path, tmp_path: Path
) -> None:
    engine = native(source=f"file:{base}", adapter="registered:law@champion")
    graph = graph_of(engine, tmp_path)
    registry.promote("law", registry.add("law", adapter, card(["public"], "run-2")))
    assert graph.invoke(ASKED, context=READER)["model"] == "tiny"
    assert graph.invoke(ASKED, context=LAWYER)["model"] == "tiny+law@1"
    engine.close()
