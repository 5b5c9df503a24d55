"""Trains an embedder so that questions lie near the passages that answer them.

The loss is InfoNCE (van den Oord et al. 2018) over the passages of a batch, those of other questions and the
hard negatives, as in Karpukhin et al. 2020. Vectors are what MARK's own embedder makes of a text: the mean
over its tokens, of length 1.

Does NOT include: passages of other devices, prefixes for questions, distillation from a cross-encoder.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from markgraph.errors import ConfigError
from markgraph.models.embed import TransformerEmbeddings
from markgraph.models.weights import load_encoder
from markgraph.training.allowed import at_least, more_than
from markgraph.training.base import Base
from markgraph.training.data.source import digest
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.rows import Kind, Row
from markgraph.training.settings import Settings
from markgraph.training.whole import WholeTrainer

Right = Mapping[str, frozenset[str]]
"""Query to the SHA-256 of each passage that answers it."""


@dataclass(frozen=True, kw_only=True)
class Embedder(Settings):
    """Learns which passage belongs to which question."""

    name: str = "embedder"
    kind: Kind = "search"
    metric: str = "reciprocal_rank"
    base: Base | None = None
    """The encoder to start from; None: what the config calls `model`."""
    temperature: float = 0.05
    """What cosines are divided by."""
    negatives: int = 3
    """Hard negatives of each question that are used, at most."""
    text_tokens: int = 256
    """Longer texts are cut; the embedder has to read as far: embedder.max_tokens."""
    learning_rate: float = 2e-5
    epochs: float = 1.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        more_than(self, 0, "temperature")
        at_least(self, 0, "negatives")
        at_least(self, 1, "text_tokens")
        if self.lora is not None:
            raise ConfigError("method.lora is set. Allowed: null; an embedder is trained as a whole.")

    def origin(self, base: Base) -> Base:
        """Return the encoder that it starts from."""
        return self.base or base

    def training(self, job: Job) -> Training:
        """Return the training of all the encoder's weights."""
        tokenizer, encoder = load_encoder(self.origin(job.base).folder)
        known = right_of([*job.rows, *job.held])
        return EmbedderTrainer(
            self,
            job,
            model=encoder.train(),
            train_dataset=list(job.rows),
            eval_dataset=list(job.held) or None,
            data_collator=Collator(tokenizer, self.text_tokens, self.negatives, known),
            processing_class=tokenizer,
        )

    def scores(
        self,
        base: Base,
        model: Path | None,
        rows: Sequence[Row],
        each: Each = every_row,  # noqa: ARG002 -- what a rank is depends on all rows
    ) -> Scores:
        """Return 1 / rank of each question's passage among all passages of these rows.

        Others that are as near come first, and there is no rank where a nearness is no finite number.
        """
        folder = model or self.origin(base).folder
        embedder = TransformerEmbeddings(f"file:{folder}", max_tokens=self.text_tokens)
        texts = list(dict.fromkeys(text for row in rows for text in (row["positive"], *row["negatives"])))
        passages = np.asarray(embedder.embed_documents(texts))  # (n, d)
        questions = np.asarray(embedder.embed_documents([row["query"] for row in rows]))  # (q, d)
        right = np.array([texts.index(row["positive"]) for row in rows])
        near = questions @ passages.T  # (q, n)
        ahead = near >= near[np.arange(len(rows)), right][:, None]  # its own, too
        ranks = (ahead & ~also(rows, texts, right_of(rows)).numpy()).sum(1)
        return {self.metric: np.where(np.isfinite(near).all(1), 1 / np.maximum(1, ranks), np.nan).tolist()}


def right_of(rows: Iterable[Row]) -> Right:
    """Return what rows say of each query: it has several passages where they share it."""
    found: dict[str, frozenset[str]] = {}
    for row in rows:
        these = (digest(row["positive"]), *row.get("right", ()))
        found[row["query"]] = found.get(row["query"], frozenset()).union(these)
    return found


def also(rows: Sequence[Row], texts: Sequence[str], known: Right) -> Tensor:
    """Return whether each text answers each row's query too, beside its own passage, bool (q, n)."""
    digests = [digest(text) for text in texts]
    right = [known[row["query"]] - {digest(row["positive"])} for row in rows]
    return torch.tensor([[each in these for each in digests] for these in right])


@dataclass(frozen=True)
class Collator:
    """Makes a batch of rows: questions, and each different passage once."""

    tokenizer: Any
    longest: int
    negatives: int
    known: Right
    """What is right for these rows, as all rows say."""

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the tokens of both, and which passage belongs to which question."""
        own = [(row["positive"], *row["negatives"][: self.negatives]) for row in rows]
        # Two questions with one passage: neither may learn that it is the other's.
        texts = list(dict.fromkeys(text for each in own for text in each))
        return {
            "questions": self._tokens([row["query"] for row in rows]),
            "passages": self._tokens(texts),
            "right": torch.tensor([texts.index(row["positive"]) for row in rows]),
            "also": also(rows, texts, self.known),
        }

    def _tokens(self, texts: list[str]) -> Mapping[str, Tensor]:
        made: Mapping[str, Tensor] = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        )
        return dict(made)


class EmbedderTrainer(WholeTrainer):
    """Adds the loss."""

    def __init__(self, settings: Embedder, job: Job, **parts: Any) -> None:
        super().__init__(settings, job, **parts)
        self.temperature = settings.temperature
        self.can_return_loss = True  # in evaluation too, where transformers looks for labels
        self.model_accepts_loss_kwargs = False  # the loss is a mean: accumulated ones are to be divided

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002 -- the loss is a mean
    ) -> Any:
        """Return the cross entropy of the passages' cosines with each question."""
        questions, passages = (pooled(model, inputs[name]) for name in ("questions", "passages"))
        near = questions @ passages.T / self.temperature  # (q, n)
        logits = near.masked_fill(inputs["also"], float("-inf"))
        loss = cross_entropy(logits, inputs["right"])
        return (loss, {"logits": logits}) if return_outputs else loss


def pooled(model: Any, tokens: Mapping[str, Tensor]) -> Tensor:
    """Return a vector of length 1 for each text, (b, d): the mean of its tokens'."""
    hidden = model(**tokens).last_hidden_state  # (b, l, d)
    mask = tokens["attention_mask"].unsqueeze(-1)  # (b, l, 1)
    return normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
