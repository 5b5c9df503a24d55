"""Small graphs at random, and every run of one, as LangGraph itself does it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.constants import END, START
from langgraph.errors import GraphRecursionError
from langgraph.graph import StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from markgraph.build import Graph
from markgraph.security.effects import Effect, does

EFFECTS = {
    "authorize": Effect.AUTHORIZES,
    "private": Effect.READS_PRIVATE,
    "untrusted": Effect.INGESTS_UNTRUSTED,
    "generate": Effect.GENERATES,
    "act": Effect.SIDE_EFFECTS,
    "store": Effect.STORES,
    "send": Effect.EGRESS,
    "approve": Effect.APPROVES,
    "validate": Effect.VALIDATES,
    "quote": Effect.QUOTES,
    "refuse": Effect.REFUSES,
    "answer": Effect.ANSWERS,
}
NAMES = ("a", "b", "c", "d", "e")


class State(TypedDict):
    """Nothing: what matters is what runs."""

    nothing: str


@dataclass(frozen=True)
class Plan:
    """A graph to be made."""

    does: dict[str, tuple[str, ...]]
    """What each node does, in the monitor's words."""
    edges: tuple[tuple[str, str], ...]
    branches: dict[str, tuple[str, ...]]
    """Where a node leads to one of."""
    sends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Where a node leads to any of, all at once."""
    join: tuple[tuple[str, ...], str] | None = None
    deferred: str | None = None


@st.composite
def plans(draw: st.DrawFn, *, parallel: bool) -> Plan:
    """Draw a graph; `parallel`: nodes of it run at the same time, wait for each other, or come last."""
    name, end = st.sampled_from(NAMES), st.sampled_from((*NAMES, END))
    words = st.lists(st.sampled_from(sorted(EFFECTS)), max_size=2, unique=True).map(tuple)
    ends = st.lists(end, min_size=1, max_size=3, unique=True).map(tuple)
    branches = draw(st.dictionaries(name, ends, max_size=5))
    edges = [(START, draw(name)), *draw(st.lists(st.tuples(name, end), max_size=8))]
    if not parallel:
        one_each = {start: (start, end) for start, end in edges if start not in branches}
        return Plan(draw(_of_each(words)), tuple(one_each.values()), branches)
    waited_for = st.lists(name, min_size=2, max_size=3, unique=True).map(tuple)
    return Plan(
        does=draw(_of_each(words)),
        edges=(*edges, (START, draw(name))),
        branches=branches,
        sends=draw(st.dictionaries(name, ends, max_size=1)),
        join=draw(st.none() | st.tuples(waited_for, name)),
        deferred=draw(st.none() | name),
    )


def _of_each(words: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict.fromkeys(NAMES, words))


class Chooser:
    """Decides at branches by a script; beyond it, always the first, and notes how many ways there were."""

    def __init__(self, script: tuple[int, ...]) -> None:
        self.script, self.ways = script, list[int]()

    def __call__(self, ways: int) -> int:
        at = len(self.ways)
        self.ways.append(ways)
        return self.script[at] if at < len(self.script) else 0

    def following(self) -> Iterator[tuple[int, ...]]:
        """Yield the scripts that begin as this one did and then choose otherwise."""
        taken = [*self.script, *[0] * (len(self.ways) - len(self.script))]
        for at in range(len(self.script), len(self.ways)):
            for other in range(1, self.ways[at]):
                yield (*taken[:at], other)


def made(plan: Plan, chooser: Callable[[int], int], log: list[tuple[int, str]]) -> Graph:
    """Return the graph of a plan; what runs is noted in `log` with its step."""
    builder = StateGraph(State)
    for name, words in plan.does.items():
        builder.add_node(name, _node(name, words, log), defer=name == plan.deferred)
    for start, end in sorted(set(plan.edges)):
        builder.add_edge(start, end)
    for start, ends in plan.branches.items():
        builder.add_conditional_edges(start, _one(ends, chooser), list(ends))
    for start, ends in plan.sends.items():
        builder.add_conditional_edges(start, _any(ends, chooser), list(ends))
    if plan.join:
        builder.add_edge(list(plan.join[0]), plan.join[1])
    return builder.compile()


def _node(name: str, words: tuple[str, ...], log: list[tuple[int, str]]) -> Any:
    @does(*(EFFECTS[word] for word in words))
    def node(state: State, config: RunnableConfig) -> dict[str, Any]:
        log.append((config["metadata"]["langgraph_step"], name))
        return {}

    return node


def _one(ends: tuple[str, ...], chooser: Callable[[int], int]) -> Any:
    def one(state: State) -> str:
        return ends[chooser(len(ends))]

    return one


def _any(ends: tuple[str, ...], chooser: Callable[[int], int]) -> Any:
    def some(state: State) -> list[Send | str]:
        chosen = chooser(2 ** len(ends))
        return [end if end == END else Send(end, state) for at, end in enumerate(ends) if chosen >> at & 1]

    return some


def runs_of(plan: Plan, most: int, steps: int) -> Iterator[tuple[list[frozenset[str]], bool]]:
    """Yield what runs in up to `most` runs of at most `steps`, and whether each came to an end."""
    scripts: list[tuple[int, ...]] = [()]
    for _ in range(most):
        if not scripts:
            return
        chooser, log = Chooser(scripts.pop(0)), list[tuple[int, str]]()
        over = True
        try:
            # One at a time: what a script chooses is told apart by the order in which it is asked.
            alone: RunnableConfig = {"recursion_limit": steps, "max_concurrency": 1}
            made(plan, chooser, log).invoke({"nothing": ""}, alone)
        except GraphRecursionError:
            over = False
        scripts += chooser.following()
        by_step: dict[int, set[str]] = {}
        for step, name in log:
            by_step.setdefault(step, set()).add(name)
        yield [frozenset(by_step[step]) for step in sorted(by_step)], over
