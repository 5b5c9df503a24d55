"""Lets a run begin, or stops it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import RemoveMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.runtime import Runtime

from markgraph.errors import DeniedError, UsageError
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of, grants_of, owner_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Policy, Resource
from markgraph.state import Begins, Owned, QAState
from markgraph.text import LONGEST_QUESTION, is_question


def fresh_turn() -> dict[str, Any]:
    """Return the channels of a turn that has just begun; what a thread keeps is not among them."""
    return {
        "answer": "",
        "refused": False,
        "citations": [],
        "passages": [],
        "excerpts": [],
        "recent": [],
        "summary": "",
        "recalled": [],
        "claims": [],
        "evidence": [],
        "prompt": [],
        "draft": "",
        "model": "",
        "verdict": {"grounded": False, "score": 0.0, "unsupported": []},
        "attempts": 0,
        "done": [],
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
    }


def fresh_agent_turn() -> dict[str, Any]:
    """Return the same for the agent: what tools returned earlier may not be readable any more."""
    return fresh_turn() | {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES)], "declined": []}


@does(Effect.AUTHORIZES)
@dataclass(frozen=True)
class Authorize:
    """Lets a run begin whose caller may run the graph, in a thread of their own."""

    graph: str
    """Its name, which a permission may be limited to."""
    policy: Policy
    begin: Callable[[], dict[str, Any]] = fresh_turn
    """What a run begins with once it is allowed."""

    def needs(self, state: Owned) -> list[Need]:  # noqa: ARG002
        """Return the permission to run the graph."""
        return [Need("graph:run", Resource("graph", self.graph))]

    def __call__(self, state: Begins, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return a fresh turn owned by the caller.

        Raises:
            DeniedError: the thread is somebody else's.
            UsageError: what is asked is no question; not every way to a graph looks at it before.
        """
        caller = caller_of(runtime)
        if state.get("owner", owner_of(caller)) != owner_of(caller):
            raise DeniedError("This thread belongs to somebody else. Use a thread of your own.")
        if not is_question(state.get("question", "?")):
            raise UsageError(
                f"A question is text of at most {LONGEST_QUESTION:,} characters that says something."
            )
        grants = grants_of(caller, self.policy.held_by(caller))
        return {"owner": owner_of(caller), "grants": grants, **self.begin()}


def check_still_allowed(state: Owned, caller: Caller, policy: Policy) -> None:
    """Refuse to go on with a run that somebody else began, or whose caller has lost something since.

    A resumed run starts behind `authorize`, so every other node asks this first.

    Raises:
        DeniedError: naming what is missing: a permission, a group, or a clearance.
    """
    if state.get("owner") != owner_of(caller):
        raise DeniedError("This run belongs to somebody else. Use a thread of your own.")
    if lost := sorted(set(state["grants"]) - set(grants_of(caller, policy.held_by(caller)))):
        raise DeniedError(
            f"This run began with permissions that {caller.subject!r} no longer has: {', '.join(lost)}. "
            "Ask the question again."
        )


def check_still_readable(state: QAState, index: Index, caller: Caller) -> None:
    """Refuse to go on with a run when something that it has read is not there for its caller any more.

    It may have waited for long, and the model's words may rest on what was withdrawn meanwhile: to leave
    out a passage would not take it out of them.

    Raises:
        DeniedError: a document was changed, removed, or closed to the caller.
    """
    read = {id_ for passage in state.get("passages") or [] for id_ in passage["ids"]}
    wanted = sorted(read.union(state.get("recalled") or []))
    if wanted and len(index.get(wanted, caller)) < len(wanted):
        raise DeniedError(
            f"Something that this run has read was changed, removed, or closed to {caller.subject!r} "
            "since. Ask the question again."
        )
