"""Reads a compiled graph: its nodes, what they declare, and where a run may go from each.

What a node or a branch doesn't say is taken to be everything: a branch without a path map, and a node that
may return a `Command` without naming its targets, lead to every node.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from langchain_core.tools import BaseTool
from langgraph.constants import END, START
from langgraph.graph._node import StateNodeSpec
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send

from markgraph.security.effects import (
    TOOL_LABELS,
    Effect,
    HasTools,
    declared,
    effects_of,
    needs_approval,
    unsaid,
)
from markgraph.verification.flow import DEFERRED, EVERYTHING, LAST, ON_TIME, WITHIN, Flow, Node, Tool, Way
from markgraph.verification.wrapped import node_of

WORST = frozenset(
    {
        Effect.READS_PRIVATE,
        Effect.INGESTS_UNTRUSTED,
        Effect.GENERATES,
        Effect.SIDE_EFFECTS,
        Effect.EGRESS,
        Effect.ANSWERS,
    }
)
"""What a node is taken to do that doesn't say what it does."""
Labels = Mapping[str, Sequence[Effect]]
"""What nodes do that don't declare it themselves."""
Goes = Mapping[str, Sequence[str]]
"""Where nodes go by a `Command` whose targets they don't name themselves."""
Graph = CompiledStateGraph[Any, Any, Any, Any]


def flow_of(graph: Graph, labels: Labels | None = None, goes: Goes | None = None) -> Flow:
    """Return what the runs of `graph` can do; see `verify`."""
    nodes, joins = _Reader(labels or {}, goes or {}).read(graph, "", ())
    sent_to = {name for node in nodes for way in node.ways if not way.exactly_one for name in way.targets}
    nodes = [_not_deferred_for_sure(node) if node.name in sent_to else node for node in nodes]
    return Flow(tuple(sorted(nodes, key=lambda node: node.name)), tuple(sorted(joins, key=str)))


def _not_deferred_for_sure(node: Node) -> Node:
    """Return `node` with a finding if it is deferred: a `Send` runs it at once all the same."""
    if node.when != DEFERRED:
        return node
    gap = f"{node.name!r} is deferred, but not for a Send. Lead to it by edges, or by a branch `-> str`."
    return replace(node, gaps=(*node.gaps, gap))


@dataclass(frozen=True)
class _Reader:
    labels: Labels
    goes: Goes

    def read(
        self, graph: Graph, within: str, outside: tuple[str, ...]
    ) -> tuple[list[Node], list[tuple[frozenset[str], str]]]:
        """Return the nodes and joins of a graph, their names beginning with `within`.

        `outside`: the nodes of the graphs around it, which a `Command` to its parent may lead to.
        """
        builder = graph.builder
        anywhere = (*(within + name for name in builder.nodes), *outside, END)
        subgraphs = dict(graph.get_subgraphs())
        joins = [
            (frozenset(within + start for start in starts), _target(within, end))
            for starts, end in builder.waiting_edges
        ]
        nodes = []
        for name in (START, *builder.nodes):
            node = self._node(graph, name, within, anywhere)
            given = builder.nodes[name].runnable if name != START else None
            # LangGraph does not count one that keeps no checkpoints as a subgraph.
            inner = given if isinstance(given, CompiledStateGraph) else subgraphs.get(name)
            if not isinstance(inner, CompiledStateGraph):
                nodes.append(node)
                continue
            parts, more = self.read(inner, f"{within}{name}{WITHIN}", anywhere)
            nodes += [*_entered(node), *parts]
            joins += more
        return nodes, joins

    def _node(self, graph: Graph, name: str, within: str, anywhere: tuple[str, ...]) -> Node:
        node = Node(within + name, ways=tuple(_ways(graph, name, within, anywhere)))
        if name == START:
            return node
        spec = graph.builder.nodes[name]
        if (targets := self._commanded(node.name, spec, within, anywhere)) is not None:
            node = replace(node, ways=(*node.ways, Way(tuple(sorted(targets)), False)))
        before, after = graph.interrupt_before_nodes, graph.interrupt_after_nodes
        return replace(
            _uncached(self._labelled(node, spec.runnable), spec),
            handler=within + spec.error_handler_node if spec.error_handler_node else None,
            when=DEFERRED if spec.defer else ON_TIME,
            pauses_before=before == "*" or name in before,
            pauses_after=after == "*" or name in after,
        )

    def _commanded(
        self, name: str, spec: StateNodeSpec[Any, Any], within: str, anywhere: tuple[str, ...]
    ) -> Collection[str] | None:
        """Return where a node may go by a `Command`, or None where it returns none."""
        if name in self.goes:
            return self.goes[name]
        if spec.ends:
            # With Command.PARENT they are names of the graphs around this one.
            around = [name for name in anywhere if name.rpartition(WITHIN)[-1] in spec.ends and name != END]
            return {*(_target(within, end) for end in spec.ends), *around}
        return anywhere if _may_command(spec.runnable) else None

    def _labelled(self, node: Node, runnable: object) -> Node:
        """Return `node` with what it does, or the worst where it doesn't say."""
        if isinstance(runnable, ToolNode):
            return _with_tools(node, frozenset({Effect.RUNS_TOOLS}), list(runnable.tools_by_name.values()))
        own = node_of(runnable)
        effects = frozenset(self.labels[node.name]) if node.name in self.labels else declared(own)
        if effects is None and isinstance(runnable, CompiledStateGraph):
            return node  # what it does is what its nodes do
        if effects is None:
            gap = f"{node.name!r} doesn't say what it does. Declare it: @does(...), or labels={{...}}."
            return replace(node, effects=WORST, gaps=(gap,))
        if not effects & {Effect.RUNS_TOOLS, Effect.APPROVES}:
            return replace(node, effects=effects)
        return _with_tools(node, effects, own.tools if isinstance(own, HasTools) else None)


def _uncached(node: Node, spec: StateNodeSpec[Any, Any]) -> Node:
    """Return `node` with a finding if its result may come from a cache: then it doesn't run.

    A cache knows what a node was given, and not for whom.
    """
    if spec.cache_policy is None or not node.effects:
        return node
    gap = (
        f"{node.name!r} has a cache policy: what it does is left out where its result is known. Take it away."
    )
    return replace(node, gaps=(*node.gaps, gap))


def _with_tools(node: Node, effects: frozenset[Effect], tools: Sequence[BaseTool] | None) -> Node:
    """Return `node` with the tools that it runs, or asks a person about."""
    if Effect.APPROVES in effects:
        asks = [tool.name for tool in tools if needs_approval(tool)] if tools is not None else [EVERYTHING]
        node = replace(node, asks=frozenset(asks))
    if Effect.RUNS_TOOLS not in effects:
        return replace(node, effects=effects)
    if tools is None:
        gap = f"{node.name!r} runs tools, and has no field `tools` that says which."
        return replace(node, effects=effects | WORST, gaps=(gap,))
    gaps = [
        f"Tool {tool.name!r} in {node.name!r} doesn't say {', '.join(lacking)}. Its metadata needs "
        f"{', '.join(TOOL_LABELS)}, each true or false."
        for tool in tools
        if (lacking := unsaid(tool))
    ]
    run = tuple(Tool(tool.name, effects_of(tool)) for tool in tools)
    return replace(node, effects=effects, tools=run, gaps=tuple(gaps))


def _entered(node: Node) -> Iterator[Node]:
    """Yield the two sides of a node that a subgraph runs in: into it, and what happens once it is over."""
    begin, end = f"{node.name}{WITHIN}{START}", f"{node.name}{WITHIN}{END}"
    if node.handler:
        gap = f"{node.name!r} handles errors around a subgraph, where any node may fail. Handle them in it."
        node = replace(node, gaps=(*node.gaps, gap))
    yield replace(node, ways=(Way((begin,), True), Way((end,), True)), pauses_after=False)
    yield Node(end, ways=node.ways, when=LAST, pauses_after=node.pauses_after)


def _ways(graph: Graph, name: str, within: str, anywhere: tuple[str, ...]) -> Iterator[Way]:
    """Yield the ways that lead on from a node."""
    builder = graph.builder
    for start, end in sorted(builder.edges):
        if start == name:
            yield Way((_target(within, end),), True)
    for branch in builder.branches.get(name, {}).values():
        ends = tuple(_target(within, end) for end in branch.ends.values()) if branch.ends else anywhere
        yield Way(tuple(sorted(set(ends))), _returns_one(branch.path))


def _target(within: str, name: str) -> str:
    return END if name == END else within + name


def _functions(runnable: Any) -> list[Callable[..., Any]]:
    """Return the sync and async functions of a runnable that is made of functions."""
    made_of = vars(runnable) if hasattr(runnable, "__dict__") else {}
    func, afunc = made_of.get("func"), made_of.get("afunc")
    if func and isinstance(afunc, partial):  # LangGraph's own: `func` in a thread
        afunc = None
    return [each.func if isinstance(each, partial) else each for each in (func, afunc) if each]


def _returned(function: Callable[..., Any]) -> list[Any]:
    """Return the types that a function says it returns; `Any` where it says nothing."""
    for call in (function, type(function).__call__):
        try:
            if "return" in (hints := get_type_hints(call)):
                return list(_parts(hints["return"]))
        except (NameError, TypeError):
            continue
    return [Any]


def _parts(hint: Any) -> Iterator[Any]:
    """Yield the members of a union."""
    if get_origin(hint) is Annotated:
        yield from _parts(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _parts(part)
    else:
        yield hint


def _returns_one(path: object) -> bool:
    """Tell whether a branch names exactly one target each time."""
    functions = _functions(path)
    return bool(functions) and all(_is_one(part) for each in functions for part in _returned(each))


def _is_one(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return True
    return isinstance(hint, type) and issubclass(hint, (str, int, Enum)) and not issubclass(hint, Send)


def _may_command(runnable: object) -> bool:
    """Tell whether a node, or a tool that it runs, may return a `Command`, and so choose where to go on."""
    if isinstance(runnable, CompiledStateGraph):
        return False
    functions = _functions(runnable)
    if isinstance(runnable, ToolNode):
        functions = [call for tool in runnable.tools_by_name.values() for call in _calls(tool)]
    return not functions or any(_is_command(part) for each in functions for part in _returned(each))


def _calls(tool: BaseTool) -> list[Callable[..., Any]]:
    """Return the functions that a tool is made of."""
    made_of = vars(tool)
    given = [made_of[name] for name in ("func", "coroutine") if made_of.get(name)]
    return given or [type(tool)._run]


def _is_command(hint: Any) -> bool:
    hint = get_origin(hint) or hint
    if hint in (Any, object, list, tuple, Sequence):
        return True
    return hint is not NoneType and not (isinstance(hint, type) and not issubclass(hint, Command))
