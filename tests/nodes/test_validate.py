"""A draft is checked; one that refuses claims nothing, and the passages may answer after all."""

from typing import Any

from markgraph.models.embed import HashEmbeddings
from markgraph.nodes.validate import Validate
from markgraph.validation.refusals import REFUSAL

PASSAGES = [{"text": "The customer shall pay each invoice within 30 days of receipt."}]


def validated(draft: str) -> dict[str, Any]:
    state: Any = {"standalone": "When must an invoice be paid?", "draft": draft, "passages": PASSAGES}
    return Validate(HashEmbeddings(), answerable=0.0)(state)


def test_a_refusal_claims_nothing_and_is_not_grounded() -> None:
    found = validated(REFUSAL)
    assert found["claims"] == []
    assert found["verdict"] == {"grounded": False, "score": 0.0, "unsupported": []}
    assert found["evidence"][0]["quote"] == PASSAGES[0]["text"]


def test_an_answer_is_checked_against_the_passages() -> None:
    found = validated("The customer shall pay each invoice within 30 days of receipt [1].")
    assert [claim["supported"] for claim in found["claims"]] == [True]
    invented = validated("The customer shall pay each invoice within 90 days of receipt [1].")
    assert invented["verdict"]["unsupported"] == [
        "The customer shall pay each invoice within 90 days of receipt."
    ]
