"""Trains a model that reads two texts together and says whether they belong together (Nogueira & Cho 2019).

On `search` rows it becomes a reranker: a passage, and whether it answers the question. On `entailment` rows
it says whether a hypothesis follows from its premise. The loss is binary cross entropy on one logit.

What a passage is told from are others that do not answer the question: a row's own negatives, and where it
has too few of these, passages of other rows.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from markgraph.errors import ConfigError, UsageError
from markgraph.models.weights import load_encoder
from markgraph.retrieval.rerank import LEAST_TOKENS
from markgraph.retrieval.rerank import CrossEncoder as Reader
from markgraph.training.allowed import at_least
from markgraph.training.base import Base
from markgraph.training.classifier import reward_model
from markgraph.training.data.source import digest
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.rows import Kind, Row
from markgraph.training.settings import Settings
from markgraph.training.whole import WholeTrainer

KINDS: tuple[Kind, ...] = ("search", "entailment")


class Pair(NamedTuple):
    """Two texts, and whether they belong together."""

    first: str
    second: str
    label: int


@dataclass(frozen=True, kw_only=True)
class CrossEncoder(Settings):
    """Learns which passages answer which questions, or what follows from what."""

    name: str = "cross_encoder"
    kind: Kind = "search"
    """search: a reranker; entailment: a judge of claims."""
    metric: str = "auc"
    base: Base | None = None
    """The encoder to start from; None: what the config calls `model`."""
    negatives: int = 3
    """Of each question: its own first, then passages of other rows, drawn."""
    text_tokens: int = 256
    learning_rate: float = 5e-5
    epochs: float = 1.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise ConfigError(f"method.kind is {self.kind!r}. Allowed: {', '.join(KINDS)}.")
        at_least(self, 1, "negatives")
        at_least(self, LEAST_TOKENS, "text_tokens")
        if self.lora is not None:
            raise ConfigError("method.lora is set. Allowed: null; a cross-encoder is trained as a whole.")

    def origin(self, base: Base) -> Base:
        """Return the encoder that it starts from."""
        return self.base or base

    def training(self, job: Job) -> Training:
        """Return the training of the encoder and a new head, or of a cross-encoder that there is.

        Raises:
            UsageError: all pairs belong together, or none does: there is nothing to tell apart.
        """
        pairs = self._pairs(job.rows, job.seed)
        if len(labels := {pair.label for pair in pairs}) == 1:
            raise UsageError(
                _nothing_wrong(job.rows)
                if self.kind == "search"
                else f"All {len(pairs)} rows have the label {labels.pop()}. Allowed: rows of 0 and rows of 1."
            )
        base = self.origin(job.base)
        tokenizer, _ = load_encoder(base.folder)
        return CrossEncoderTrainer(
            self,
            job,
            model=reward_model(base, seed=job.seed).train(),
            train_dataset=pairs,
            eval_dataset=self._pairs(job.held, job.seed) or None,
            data_collator=Collator(tokenizer, self.text_tokens),
            processing_class=tokenizer,
        )

    def scores(
        self,
        base: Base,  # noqa: ARG002 -- the port has it
        model: Path | None,
        rows: Sequence[Row],
        each: Each = every_row,
    ) -> Scores:
        """Return each row's part of the AUC; its mean is the AUC. A base without a head is at chance."""
        if model is None:
            return {self.metric: [0.5] * len(rows)}
        reader = Reader(f"file:{model}", max_tokens=self.text_tokens)
        if self.kind == "search":
            others = Others(rows, self.negatives)
            return each(
                lambda some: {
                    self.metric: [_ahead(reader, row, [*row["negatives"], *others(row)]) for row in some]
                },
                rows,
            )
        found = each(lambda some: {"logit": [_follows(reader, row) for row in some]}, rows)
        logits = np.where(np.isfinite(found["logit"]), found["logit"], np.nan)
        labels = np.array([row["label"] for row in rows])
        return {
            self.metric: parts_of_auc(logits, labels),
            "accuracy": np.where(np.isnan(logits), np.nan, (logits > 0) == labels).tolist(),
        }

    def _pairs(self, rows: Sequence[Row], seed: int) -> list[Pair]:
        if self.kind == "entailment":
            return [Pair(row["premise"], row["hypothesis"], row["label"]) for row in rows]
        others = Others(rows, self.negatives, seed)
        return [pair for row in rows for pair in self._pairs_of(row, others(row))]

    def _pairs_of(self, row: Row, others: Sequence[str]) -> Iterator[Pair]:
        yield Pair(row["query"], row["positive"], 1)
        wrong = [*row["negatives"][: self.negatives], *others]
        yield from (Pair(row["query"], text, 0) for text in wrong)


class Others:
    """Draws passages of other rows for one that has too few negatives: the same, whenever it is asked."""

    def __init__(self, rows: Sequence[Row], most: int, seed: int = 0) -> None:
        """Draw from `rows`, until a row has `most` negatives."""
        self._most, self._seed = most, seed
        self._passages = list(dict.fromkeys(text for row in rows for text in _passages(row)))
        self._known = {digest(text): text for text in self._passages}
        self._right: dict[str, set[str]] = {}
        for row in rows:
            self._right.setdefault(row["query"], set()).add(row["positive"])

    def __call__(self, row: Row) -> list[str]:
        """Return what `row` is short of, as far as there is any: no passage that answers its question."""
        if (short := self._most - len(row["negatives"])) <= 0:
            return []
        also = (self._known[each] for each in row.get("right", ()) if each in self._known)
        barred = self._right[row["query"]].union(row["negatives"], also)
        draw = random.Random(f"{self._seed} {row['id']}")  # noqa: S311 -- no secret
        # So many that enough are left, whichever of them are barred.
        drawn = draw.sample(self._passages, min(short + len(barred), len(self._passages)))
        return [text for text in drawn if text not in barred][:short]


def _passages(row: Row) -> tuple[str, ...]:
    return row["positive"], *row["negatives"]


def _nothing_wrong(rows: Sequence[Row]) -> str:
    passages = {text for row in rows for text in _passages(row)}
    return (
        f"No question has a passage that does not answer it: got {len(rows)} rows with {len(passages)} "
        "passages in all. Allowed: rows with `negatives`, or rows of several questions with passages of "
        "their own, which are drawn from. Add some of either."
    )


def _ahead(reader: Reader, row: Row, others: Sequence[str]) -> float:
    """Return the part of the other passages that a question's own is ahead of; a tie is half."""
    right, *wrong = reader.scores(row["query"], [row["positive"], *others])
    return float(np.mean([_above(right, other) for other in wrong])) if wrong else 0.5


def _follows(reader: Reader, row: Row) -> float:
    """Return the logit of a hypothesis behind its premise."""
    return float(reader.scores(row["premise"], [row["hypothesis"]])[0])


def _above(one: float, other: float) -> float:
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.nan
    return 0.5 if one == other else float(one > other)


def parts_of_auc(logits: Any, labels: Any) -> list[float]:
    """Return for each row the part of the rows with the other label that it is on the right side of.

    Their mean over the rows of either label is the area under the ROC curve (Hanley & McNeil 1982).
    """
    signed = np.where(labels == 1, 1.0, -1.0)
    above = (np.sign(logits[:, None] - logits[None, :]) * signed[:, None] + 1) / 2  # (n, n); a tie is half
    other = labels[:, None] != labels[None, :]
    return [float(row[mask].mean()) if mask.any() else 0.5 for row, mask in zip(above, other, strict=True)]


@dataclass(frozen=True)
class Collator:
    """Makes a batch of pairs; what is too long loses the end of its longer text."""

    tokenizer: Any
    longest: int

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Return the tokens of each pair, and the labels."""
        made: Mapping[str, Tensor] = self.tokenizer(
            [pair.first for pair in pairs],
            [pair.second for pair in pairs],
            padding=True,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        )
        return {**made, "labels": torch.tensor([float(pair.label) for pair in pairs])}


class CrossEncoderTrainer(WholeTrainer):
    """Adds the loss."""

    def __init__(self, settings: CrossEncoder, job: Job, **parts: Any) -> None:
        super().__init__(settings, job, **parts)
        self.model_accepts_loss_kwargs = False  # the loss is a mean: accumulated ones are to be divided

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002 -- the loss is a mean
    ) -> Any:
        """Return the binary cross entropy of the logits."""
        tokens = {name: each for name, each in inputs.items() if name != "labels"}
        logits = model(**tokens).logits[:, 0]  # (b,)
        loss = binary_cross_entropy_with_logits(logits, inputs["labels"])
        return (loss, {"logits": logits}) if return_outputs else loss
