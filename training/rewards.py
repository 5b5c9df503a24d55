"""What an answer is worth, as functions of the answer and its row; each is between 0 and 1."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Protocol

from langchain_core.embeddings import Embeddings

from markgraph.errors import ConfigError
from markgraph.evaluation.answers import citation_precision, citation_recall, contains, exact_match, token_f1
from markgraph.evaluation.answers import refusal as refuses_rightly
from markgraph.training.port import Scores
from markgraph.training.rows import Message, Row
from markgraph.validation.claims import check_answer
from markgraph.validation.drafts import marks_of, statements
from markgraph.validation.refusals import is_refusal

MOST_SENTENCES = 2
"""As many as the instructions of answering ask for."""
_PASSAGE = re.compile(r"(?:\A|(?<=\n\n))\[(\d+)\] [^\n]*\n")
_QUESTION = "\n\nQuestion: "


def exact(completion: str, row: Row) -> float:
    """Return whether the answer is a right one, but for case, articles and punctuation."""
    return exact_match(completion, row["reference"])


def holds(completion: str, row: Row) -> float:
    """Return whether a right answer is in it word for word."""
    return contains(completion, row["reference"])


def overlap(completion: str, row: Row) -> float:
    """Return the F1 of its words with those of the nearest right answer."""
    return token_f1(completion, row["reference"])


def refusal(completion: str, row: Row) -> float:
    """Return whether it refuses where the passages hold no answer, and nowhere else."""
    return refuses_rightly(completion, row["reference"])


def cited(completion: str, row: Row) -> float:
    """Return the F1 of the passages that it cites with those that hold a right answer.

    Where no passage does, it is right to refuse; where there are no passages, to cite nothing.
    """
    passages = passages_of(row["messages"])
    if not passages:
        return float(not marks_of(completion))
    gold = [
        mark for mark, text in enumerate(passages, 1) if any(answer in text for answer in row["reference"])
    ]
    precision, recall = citation_precision(completion, gold), citation_recall(completion, gold)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def form(completion: str, row: Row) -> float:
    """Return which part of its sentences has a mark, or has none where there are no passages to cite.

    A sentence too many halves that. A refusal has no marks.
    """
    if is_refusal(completion):
        return 1.0
    made, citing = statements(completion), bool(passages_of(row["messages"]))
    right = sum(bool(each.marks) is citing for each in made) / max(1, len(made))
    return right if len(made) <= MOST_SENTENCES else right / 2


PLAIN: Mapping[str, Callable[[str, Row], float]] = {
    "exact": exact,
    "contains": holds,
    "overlap": overlap,
    "refusal": refusal,
    "cited": cited,
    "form": form,
}
"""The rewards that need nothing but answer and row."""
GROUNDED = "grounded"


class Judge(Protocol):
    """Says what answers are worth."""

    def __call__(self, completions: Sequence[str], rows: Sequence[Row]) -> Scores:
        """Return `reward`, one for each answer, and what it is made of."""


@dataclass(frozen=True)
class Rewards:
    """Adds rewards up, each with its weight."""

    weights: Mapping[str, float] = field(default_factory=lambda: {"contains": 1.0})
    """exact, contains, overlap, refusal, cited, form, grounded; 0 leaves one out."""
    embedder: Embeddings | None = None
    """What `grounded` compares sentences with."""

    def __post_init__(self) -> None:
        allowed = (*PLAIN, GROUNDED)
        if unknown := [name for name in self.weights if name not in allowed]:
            raise ConfigError(f"There is no reward {', '.join(unknown)}. Allowed: {', '.join(allowed)}.")
        if not self.used:
            raise ConfigError(f"No reward has a weight. Allowed: one or more of {', '.join(allowed)}.")
        if GROUNDED in self.used and self.embedder is None:
            raise ConfigError("The reward 'grounded' needs an embedder. Name one, or give it the weight 0.")

    @property
    def used(self) -> list[str]:
        """The rewards that count."""
        return [name for name, weight in self.weights.items() if weight]

    def part(self, name: str, completion: str, row: Row) -> float:
        """Return one reward, without its weight."""
        return PLAIN[name](completion, row) if name in PLAIN else self._grounded(completion, row)

    def __call__(self, completions: Sequence[str], rows: Sequence[Row]) -> Scores:
        """Return `reward`, what each answer is worth in all, and beside it each reward that counts."""
        parts = {
            name: [self.part(name, *each) for each in zip(completions, rows, strict=True)]
            for name in self.used
        }
        weights = [self.weights[name] for name in self.used]
        totals = [sum(map(mul, weights, each)) for each in zip(*parts.values(), strict=True)]
        return {"reward": totals, **parts}

    def _grounded(self, completion: str, row: Row) -> float:
        """Return the validator's score: the part of its claims that the cited passages support.

        A refusal claims nothing: it is right where there is no answer. What says nothing at all is not.
        """
        if is_refusal(completion):
            return float(not row["reference"])
        assert self.embedder is not None, "checked when this was made"
        claims = check_answer(completion, passages_of(row["messages"]), self.embedder.embed_documents)
        return sum(claim.supported for claim in claims) / max(1, len(claims))


def passages_of(messages: Sequence[Message]) -> list[str]:
    """Return the numbered passages of a prompt, as answering writes them: [1] Title, text, [2] Title, ...

    A paragraph within a passage that looks like the beginning of another one is not taken for one, unless it
    has the very next number.
    """
    prompt = messages[-1]["content"].rpartition(_QUESTION)[0]
    begins: list[re.Match[str]] = []
    for match in _PASSAGE.finditer(prompt):
        if int(match[1]) == len(begins) + 1:
            begins.append(match)
    ends = [match.start() for match in begins[1:]] + [len(prompt)]
    # Without passages there is an end, and no beginning.
    return [prompt[match.end() : end].strip() for match, end in zip(begins, ends, strict=False)]
