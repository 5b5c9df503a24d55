"""Says that there is no answer."""

from typing import Any

from markgraph.nodes.respond import changes, turn_of
from markgraph.security.effects import Effect, does
from markgraph.state import GENERAL, QAState

REFUSAL = "I can't answer this: no passage in the documents that you may read supports an answer."


@does(Effect.REFUSES)
def refuse(state: QAState) -> dict[str, Any]:
    """Refuse, and say so. What the model may have written is not repeated."""
    answer = REFUSAL + changes(state)
    return {
        "answer": answer,
        "refused": True,
        "citations": [],
        "domain": state.get("domain", GENERAL),
        "verdict": state["verdict"] | {"grounded": False, "score": 0.0},
        "history": [turn_of(state, answer)],
    }
