"""What `langgraph.json` names, as the environment of the server's process says it."""

import importlib
from pathlib import Path

import pytest

from markgraph.build import Graph
from markgraph.environment import training_overrides
from markgraph.errors import ConfigError, UsageError
from markgraph.nodes.authorize import Authorize
from markgraph.verification.wrapped import node_of

SERVED = "model=fake embedder=hash"


def train_of(monkeypatch: pytest.MonkeyPatch, train: str, overrides: str = SERVED) -> Graph:
    """Return the graph `train` of a server with that environment."""
    from markgraph.graphs import studio

    monkeypatch.setenv("MARKGRAPH_OVERRIDES", overrides)
    monkeypatch.setenv("MARKGRAPH_TRAIN", train)
    try:
        return importlib.reload(studio).train
    finally:
        monkeypatch.undo()


def test_trains_nothing_unless_whoever_runs_the_server_says_what(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = train_of(monkeypatch, "")
    for request in ({}, {"run": "r"}):
        with pytest.raises(UsageError, match=r"This server trains nothing.*MARKGRAPH_TRAIN='method=sft"):
            graph.invoke(request)


def test_trains_as_a_command_would_under_the_policy_of_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay = home / "conf/experiment/closed.yaml"
    overlay.parent.mkdir(parents=True)
    overlay.write_text("# @package _global_\ndefaults:\n  - override /auth/policy: strict\n")
    chosen = "experiment=answers data.sources.questions.path=."  # its own experiment takes nothing back
    graph = train_of(monkeypatch, chosen, f"{SERVED} experiment=closed")
    authorize = node_of(graph.builder.nodes["authorize"].runnable)
    assert isinstance(authorize, Authorize)
    assert authorize.policy.name == "strict"
    assert "register" in graph.nodes
    assert graph.checkpointer is None, "the server brings its own"


@pytest.mark.parametrize("override", ["confirm=true", "run=r", "resume=r", "+output=json"])
def test_what_is_about_one_run_is_not_for_the_environment_to_say(
    override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKGRAPH_TRAIN", f"method=sft {override}")
    with pytest.raises(ConfigError, match="whoever starts a run names it, and confirms it"):
        training_overrides()
