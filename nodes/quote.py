"""Answers with the sources' own words."""

from dataclasses import dataclass
from typing import Any

from markgraph.security.effects import Effect, does
from markgraph.state import CheckedClaim, QAState


@does(Effect.QUOTES)
@dataclass(frozen=True)
class Quote:
    """Replaces a draft that failed by the sentences that are likeliest to answer the question."""

    max_sentences: int = 2
    near: float = 0.99
    """A further sentence is quoted when it scores at least so much of the best; good scores crowd near 1."""

    def __call__(self, state: QAState) -> dict[str, Any]:
        """Return the quoted sentences as claims, and a verdict about them.

        `unsupported` still names what the model said and MARK doesn't.
        """
        evidence = state["evidence"]
        floor = self.near * evidence[0]["score"]
        chosen = [support for support in evidence[: self.max_sentences] if support["score"] >= floor]
        claims = [
            CheckedClaim(
                text=support["quote"], supported=True, score=support["score"], support=support, reason=""
            )
            for support in chosen
        ]
        verdict = state["verdict"] | {"grounded": True, "score": min(claim["score"] for claim in claims)}
        return {"claims": claims, "verdict": verdict}
