"""Waits for a person's word before anything costly is done."""

from dataclasses import dataclass
from typing import Any

from langgraph.types import interrupt

from markgraph.security.effects import Effect, does
from markgraph.training.state import TrainState

QUESTION = "May this be trained?"


@does(Effect.APPROVES)
@dataclass(frozen=True)
class Confirm:
    """Interrupts the run with its plan. `{"confirm": True}`, or `True`, resumes it; anything else declines.

    Code before an interrupt runs again on resume, so this node does nothing else.
    """

    def __call__(self, state: TrainState) -> dict[str, Any]:
        """Return whether the plan may be carried out."""
        asked = {key: state[key] for key in ("run", "prepared", "plan")}
        said = interrupt({"question": QUESTION, **asked})
        return {"approved": (said.get("confirm") if isinstance(said, dict) else said) is True}
