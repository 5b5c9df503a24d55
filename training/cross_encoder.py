"""Trains a model that reads two texts together and says whether they belong together (Nogueira & Cho 2019).

On `search` rows it becomes a reranker: a passage, and whether it answers the question. On `entailment` rows
it says whether a hypothesis follows from its premise. The loss is binary cross entropy on one logit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from markgraph.errors import ConfigError
from markgraph.models.weights import load_encoder
from markgraph.retrieval.rerank import CrossEncoder as Reader
from markgraph.training.base import Base
from markgraph.training.classifier import reward_model
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
    """Of each question, at most."""
    text_tokens: int = 256
    learning_rate: float = 5e-5
    epochs: float = 1.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise ConfigError(f"method.kind is {self.kind!r}. Allowed: {', '.join(KINDS)}.")
        if self.lora is not None:
            raise ConfigError("method.lora is set. Allowed: null; a cross-encoder is trained as a whole.")

    def origin(self, base: Base) -> Base:
        """Return the encoder that it starts from."""
        return self.base or base

    def training(self, job: Job) -> Training:
        """Return the training of the encoder and a new head, or of a cross-encoder that there is."""
        base = self.origin(job.base)
        tokenizer, _ = load_encoder(base.folder)
        return CrossEncoderTrainer(
            self,
            job,
            model=reward_model(base, seed=job.seed).train(),
            train_dataset=self._pairs(job.rows),
            eval_dataset=self._pairs(job.held) or None,
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
            return each(lambda some: {self.metric: [_ahead(reader, row) for row in some]}, rows)
        found = each(lambda some: {"logit": [_follows(reader, row) for row in some]}, rows)
        logits = np.array(found["logit"])
        labels = np.array([row["label"] for row in rows])
        return {
            self.metric: parts_of_auc(logits, labels),
            "accuracy": ((logits > 0) == labels).astype(float).tolist(),
        }

    def _pairs(self, rows: Sequence[Row]) -> list[Pair]:
        return [pair for row in rows for pair in self._pairs_of(row)]

    def _pairs_of(self, row: Row) -> Iterator[Pair]:
        if self.kind == "entailment":
            yield Pair(row["premise"], row["hypothesis"], row["label"])
            return
        yield Pair(row["query"], row["positive"], 1)
        yield from (Pair(row["query"], text, 0) for text in row["negatives"][: self.negatives])


def _ahead(reader: Reader, row: Row) -> float:
    """Return the part of a question's other passages that its own is ahead of; a tie is half."""
    right, *wrong = reader.scores(row["query"], [row["positive"], *row["negatives"]])
    return float(np.mean([_above(right, other) for other in wrong])) if wrong else 0.5


def _follows(reader: Reader, row: Row) -> float:
    """Return the logit of a hypothesis behind its premise."""
    return float(reader.scores(row["premise"], [row["hypothesis"]])[0])


def _above(one: float, other: float) -> float:
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
