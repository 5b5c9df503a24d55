"""What verification sees in a graph: labels, tools, subgraphs, interrupts, commands, handlers, paths."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.tools import BaseTool, tool
from langgraph.constants import END, START
from langgraph.graph import StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import CachePolicy, Command

from markgraph import verify
from markgraph.build import compose, make_service
from markgraph.graphs.agent import build
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.nodes.approve import Approve
from markgraph.nodes.retrieve import Retrieve
from markgraph.security.effects import Effect, declared, does, labelled, needs_approval
from markgraph.verification.rules import Rule
from tests.verification.small_graphs import NODES, State, broken, chain, node, stay


@tool
def fetch(url: str) -> str:
    """Fetch a page."""
    return url


FETCH = labelled(fetch, reads_private=False, ingests_untrusted=True, egress=True, side_effects=False)
LOOK_UP = labelled(fetch, reads_private=True, ingests_untrusted=True, egress=False, side_effects=False)
LOOK_UP.name = "look_up"


def test_a_pipeline_that_keeps_every_rule_has_no_findings() -> None:
    assert verify(chain("authorize", "retrieve", "generate", "validate", "respond").compile()) == []


@pytest.mark.parametrize(
    ("names", "rule", "path"),
    [
        (["retrieve", "authorize"], Rule.AUTHORIZE, "START retrieve"),
        (["authorize", "generate", "respond"], Rule.VALIDATE, "START authorize generate respond"),
        (["authorize", "validate", "generate", "respond"], Rule.VALIDATE, None),
        (["authorize", "generate"], Rule.VALIDATE, "START authorize generate END"),
        (["authorize", "approve", "generate", "validate", "delete"], Rule.APPROVE, None),
        (["authorize", "approve", "retrieve", "send"], Rule.TRIFECTA, None),
    ],
)
def test_prints_the_offending_path(names: list[str], rule: Rule, path: str | None) -> None:
    expected = path or " ".join(["START", *names])
    assert broken(chain(*names).compile()) == [(rule, expected)]


def test_a_person_may_let_private_data_out() -> None:
    assert verify(chain("authorize", "retrieve", "approve", "send").compile()) == []


def test_two_of_the_trifecta_need_no_person() -> None:
    reads = node(Effect.READS_PRIVATE)
    assert verify(chain("authorize", "retrieve", "send", retrieve=reads).compile()) == []


def test_what_parallel_branches_do_adds_up() -> None:
    builder = chain("authorize", "private", private=node(Effect.READS_PRIVATE))
    builder.add_node("web", node(Effect.INGESTS_UNTRUSTED))
    builder.add_node("send", NODES["send"])
    builder.add_edge("authorize", "web")
    builder.add_edge(["private", "web"], "send")
    assert broken(builder.compile()) == [(Rule.TRIFECTA, "START authorize private + web send")]


def test_a_node_that_says_nothing_is_a_finding_and_taken_for_the_worst() -> None:
    def mystery(state: State) -> dict[str, Any]:
        return {}

    found = broken(chain("authorize", "mystery", mystery=mystery).compile())
    assert (Rule.LABEL, "") in found
    assert {rule for rule, _ in found} == {Rule.LABEL, Rule.VALIDATE, Rule.APPROVE, Rule.TRIFECTA}


def test_a_subclass_declares_for_itself() -> None:
    class Elsewhere(Retrieve):
        """May do anything."""

    assert declared(Retrieve(index=None)) is not None  # type: ignore[arg-type]
    assert declared(Elsewhere(index=None)) is None  # type: ignore[arg-type]


def with_tools(tools: Sequence[BaseTool]) -> StateGraph[State, Any, Any, Any]:
    """Return an agent's loop, without anybody who is asked."""
    builder = chain("authorize", "generate")
    builder.add_node("tools", ToolNode(tools))
    builder.add_node("validate", NODES["validate"])
    builder.add_conditional_edges("generate", one_of_them, ["tools", "validate"])
    builder.add_edge("tools", "generate")
    return builder


def one_of_them(state: State) -> str:
    """Say where to go on."""
    return "tools"


def test_a_tool_that_says_nothing_is_a_finding_and_taken_for_the_worst() -> None:
    found = verify(with_tools([fetch]).compile())
    assert "Tool 'fetch' in 'tools' doesn't say reads_private, ingests_untrusted, egress," in str(found[0])
    assert {each.rule for each in found} == {Rule.LABEL, Rule.APPROVE, Rule.TRIFECTA}
    assert needs_approval(fetch)


def test_tools_that_together_let_private_data_out_are_found() -> None:
    assert verify(with_tools([FETCH]).compile()) == []
    found = verify(with_tools([FETCH, LOOK_UP]).compile())
    assert [(each.rule, each.node) for each in found] == [(Rule.TRIFECTA, "tools")]


@pytest.mark.parametrize("interrupt", [{"interrupt_before": ["tools"]}, {"interrupt_after": ["generate"]}])
def test_a_graph_that_waits_for_a_person_asks_one(interrupt: dict[str, list[str]]) -> None:
    assert verify(with_tools([FETCH, LOOK_UP]).compile(**interrupt)) == []  # type: ignore[arg-type]


def test_a_pause_elsewhere_asks_nobody() -> None:
    assert verify(with_tools([FETCH, LOOK_UP]).compile(interrupt_after=["tools"]))


@pytest.mark.parametrize("checkpointer", [None, False])
def test_a_subgraph_belongs_to_the_graph(checkpointer: Literal[False] | None) -> None:
    inner = chain("retrieve", "generate").compile(checkpointer=checkpointer)
    assert verify(chain("authorize", "inner", "validate", "respond", inner=inner).compile()) == []
    assert broken(chain("inner", "authorize", "validate", "respond", inner=inner).compile()) == [
        (Rule.AUTHORIZE, "START inner inner|retrieve")
    ]
    assert broken(chain("authorize", "validate", "inner", "respond", inner=inner).compile()) == [
        (Rule.VALIDATE, "START authorize validate inner inner|retrieve inner|generate respond")
    ]


def test_a_subgraph_that_is_called_from_a_node_is_found() -> None:
    inner = chain("retrieve").compile()

    @does()
    def ask(state: State) -> dict[str, Any]:
        return dict(inner.invoke(state))

    assert broken(chain("ask", ask=ask).compile()) == [(Rule.AUTHORIZE, "START ask ask|retrieve")]


def jump(state: State) -> Command[Literal["respond"]]:
    """Go to where it says."""
    return Command(goto="respond")


def leap(state: State) -> Command[Any]:
    """Go anywhere."""
    return Command(goto="respond")


@pytest.mark.parametrize("go", [jump, leap])
def test_a_command_is_an_edge(go: Callable[[State], Any]) -> None:
    builder = chain("authorize", "generate", "go", go=does()(go))
    builder.add_node("respond", NODES["respond"])
    assert (Rule.VALIDATE, "START authorize generate go respond") in broken(builder.compile())


def test_a_command_out_of_a_subgraph_may_mean_a_node_there_by_the_same_name() -> None:
    @does()
    def out(state: State) -> Command[Literal["delete"]]:
        return Command(goto="delete", graph=Command.PARENT)

    inner = chain("hop", hop=out)
    inner.add_node("delete", does()(stay))
    around = chain("authorize", "inner", "approve", "delete", inner=inner.compile())
    assert (Rule.APPROVE, "START authorize inner inner|hop approve + delete") in broken(around.compile())


@pytest.mark.parametrize("name", ["authorize", "approve", "validate", "retrieve"])
def test_a_node_that_does_something_may_not_be_cached(name: str) -> None:
    builder = chain(
        "authorize", "retrieve", "generate", "validate", "approve", "respond", "stay", stay=does()(stay)
    )
    builder.nodes["stay"].cache_policy = CachePolicy()
    assert verify(builder.compile()) == []
    builder.nodes[name].cache_policy = CachePolicy()
    [finding] = verify(builder.compile())
    assert (finding.rule, finding.node) == (Rule.LABEL, name)
    assert "cache" in finding.why


def test_a_branch_without_a_path_map_may_go_anywhere() -> None:
    def somewhere(state: State) -> str:
        return "validate"

    unchecked = (Rule.VALIDATE, "START authorize generate respond")
    for path_map, expected in ((["validate"], []), (None, [unchecked])):
        builder = chain("authorize", "generate")
        builder.add_sequence([(name, NODES[name]) for name in ("validate", "respond")])
        builder.add_conditional_edges("generate", somewhere, path_map)
        found = broken(builder.compile())
        assert set(expected) <= set(found)
        assert bool(found) is bool(expected)


def test_a_guard_that_failed_has_guarded_nothing() -> None:
    builder = StateGraph(State)
    builder.add_node("authorize", NODES["authorize"], error_handler=does()(lambda_to("retrieve")))
    builder.add_node("retrieve", NODES["retrieve"])
    builder.add_edge(START, "authorize")
    builder.add_edge("authorize", "retrieve")
    assert broken(builder.compile()) == [
        (Rule.AUTHORIZE, "START authorize __error_handler__authorize retrieve")
    ]


def test_a_handler_around_a_subgraph_is_refused() -> None:
    builder = StateGraph(State)
    inner = chain("retrieve").compile()
    builder.add_node("authorize", NODES["authorize"])
    builder.add_node("inner", inner, error_handler=does()(stay))
    builder.add_edge(START, "authorize")
    builder.add_edge("authorize", "inner")
    assert [(finding.rule, finding.node) for finding in verify(builder.compile())] == [(Rule.LABEL, "inner")]


def lambda_to(name: str) -> Callable[[State], Any]:
    """Return a node that may go anywhere."""

    def handle(state: State) -> Command[Any]:
        return Command(goto=name)

    return handle


def test_a_graph_that_is_too_large_to_try_is_refused() -> None:
    builder = chain("authorize", "generate", "validate")
    for number in range(20):
        builder.add_node(f"n{number}", does()(leap))
    builder.add_edge("validate", "n0")
    assert Rule.SIZE in {finding.rule for finding in verify(builder.compile())}


def test_a_graph_that_somebody_else_built_is_verified_with_labels() -> None:
    agent: Any = create_agent(FakeChatModel(), [LOOK_UP], name="agent")
    assert (Rule.LABEL, "model") in {(each.rule, each.node) for each in verify(agent)}
    found = verify(agent, {"model": [Effect.GENERATES]}, {"model": []})
    assert {each.rule for each in found} == {Rule.AUTHORIZE, Rule.VALIDATE}
    around = chain("authorize", "agent", "validate", "respond", agent=agent).compile()
    assert verify(around, {"agent|model": [Effect.GENERATES]}, {"agent|model": []}) == []


def test_ends_of_a_graph_are_ends() -> None:
    builder = chain("authorize", "generate")
    builder.add_edge("generate", END)
    assert broken(builder.compile()) == [(Rule.VALIDATE, "START authorize generate END")]


def test_a_node_that_waits_for_several_runs_after_all_of_them() -> None:
    early = (Rule.AUTHORIZE, "START begin + log authorize + retrieve")
    for waits, expected in ((True, []), (False, [early])):
        builder = chain("begin", "authorize", begin=does()(stay))
        builder.add_node("log", does()(stay))
        builder.add_node("retrieve", NODES["retrieve"])
        builder.add_edge(START, "log")
        for starts in [["log", "authorize"]] if waits else ["log", "authorize"]:
            builder.add_edge(starts, "retrieve")
        assert broken(builder.compile()) == expected


def test_a_deferred_node_runs_last() -> None:
    early = (Rule.VALIDATE, "START authorize generate + log respond + validate")
    for defer, expected in ((True, []), (False, [early])):
        builder = chain("authorize", "generate", "validate")
        builder.add_node("log", does()(stay))
        builder.add_node("respond", NODES["respond"], defer=defer)
        builder.add_edge("authorize", "log")
        builder.add_edge("log", "respond")
        assert broken(builder.compile()) == expected


def test_a_person_who_is_asked_about_other_tools_has_not_agreed() -> None:
    services: Any = {"model": FakeChatModel(), "embedder": HashEmbeddings(), "index": None}
    services["policy"] = make_service(compose("embed"), "policy")
    for asked_about, expected in (([FETCH], []), ([], [Rule.TRIFECTA])):
        tools = [FETCH, LOOK_UP]
        graph = build(**services, tools=tools, approve=lambda tools, asked=asked_about: Approve(asked))
        assert [finding.rule for finding in verify(graph)] == expected
