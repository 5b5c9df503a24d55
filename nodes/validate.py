"""Checks a draft against the passages."""

from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings

from markgraph.security.effects import Effect, does
from markgraph.state import CheckedClaim, QAState, Support
from markgraph.validation.claims import Claim, check_answer
from markgraph.validation.evidence import ANSWERABLE, Evidence, rank_evidence
from markgraph.validation.refusals import is_refusal

KEPT_EVIDENCE = 8
"""How many sentences later nodes may choose from."""


@does(Effect.VALIDATES)
@dataclass(frozen=True)
class Validate:
    """Checks each sentence of the draft for support, and the passages for an answer to the question."""

    embedder: Embeddings
    answerable: float = ANSWERABLE
    """Evidence below this score does not answer the question."""
    to_the_point: bool = True
    """A draft must rest on evidence for the question; without this, any true sentence will do."""

    def __call__(self, state: QAState) -> dict[str, Any]:
        """Return the draft's claims, the evidence for the question, and the verdict."""
        texts = [passage["text"] for passage in state["passages"]]
        embed = self.embedder.embed_documents
        ranked = [
            evidence
            for evidence in rank_evidence(state["standalone"], texts, embed)
            if evidence.score >= self.answerable
        ]
        # A refusal claims nothing: the passages are asked once more, and quoted if they answer after all.
        draft = "" if is_refusal(state["draft"]) else state["draft"]
        claims = [_plain(claim) for claim in check_answer(draft, texts, embed)]
        unsupported = [claim["text"] for claim in claims if not claim["supported"]]
        return {
            "claims": claims,
            "evidence": [_support(evidence) for evidence in ranked[:KEPT_EVIDENCE]],
            "verdict": {
                "grounded": bool(claims)
                and not unsupported
                and (not self.to_the_point or rests_on(claims, ranked)),
                "score": round(min((claim["score"] for claim in claims), default=0.0), 3),
                "unsupported": unsupported,
            },
        }


def rests_on(claims: list[CheckedClaim], evidence: list[Evidence]) -> bool:
    """Tell whether a claim rests on a sentence that answers the question.

    A draft can be true to its sources and still say nothing to the point.
    """
    supports = [claim["support"] for claim in claims if claim["support"]]
    return any(
        support["passage"] == found.passage and support["start"] < found.end and found.start < support["end"]
        for support in supports
        for found in evidence
    )


def _plain(claim: Claim) -> CheckedClaim:
    return CheckedClaim(
        text=claim.text,
        supported=claim.supported,
        score=round(claim.score, 3),
        support=_support(claim.support) if claim.support else None,
        reason=claim.reason,
    )


def _support(evidence: Evidence) -> Support:
    return Support(
        passage=evidence.passage,
        start=evidence.start,
        end=evidence.end,
        quote=evidence.quote,
        score=round(evidence.score, 3),
    )
