"""Waits for a person's word before a tool changes anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool
from langgraph.types import interrupt

from markgraph.audit.journal import acting
from markgraph.security.effects import Effect, does, effects_of, needs_approval
from markgraph.state import AgentState


@does(Effect.APPROVES)
@dataclass(frozen=True)
class Approve:
    """Interrupts the run when a pending call changes something or sends data out.

    Resume it with `Command(resume=True)`.

    Anything but `True` declines. Code before an interrupt runs again on resume, so this node does
    nothing else but take down what was said, behind it.
    """

    tools: Sequence[BaseTool]

    def __call__(self, state: AgentState) -> dict[str, Any]:
        """Return the ids of the calls that were declined."""
        asked_about = {tool.name for tool in self.tools if needs_approval(tool)}
        pending = [
            call
            for call in state["messages"][-1].tool_calls  # type: ignore[union-attr]
            if call["name"] in asked_about
        ]
        if not pending:
            return {"declined": []}
        asked = [{"tool": call["name"], "args": call["args"]} for call in pending]
        approved = interrupt({"question": "May these tools run?", "calls": asked}) is True
        if journal := acting():
            journal.decided([call["name"] for call in pending], "approved" if approved else "declined")
        return {"declined": [] if approved else [str(call["id"]) for call in pending]}


def has_side_effects(tool: BaseTool) -> bool:
    """Tell whether `tool` changes something; one that does not say so is taken to."""
    return Effect.SIDE_EFFECTS in effects_of(tool)
