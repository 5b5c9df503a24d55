"""Sentence embeddings on this machine."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings

from markgraph.errors import ConfigError
from markgraph.models.learned import resolve_for_all
from markgraph.models.registry import pinned
from markgraph.text import words

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer


@dataclass
class TransformerEmbeddings(Embeddings):
    """Embeds with a BERT-like encoder: mean over the tokens, scaled to length 1 (Reimers & Gurevych 2019).

    Weights are read at the first use, not before.
    """

    source: str
    """Reference to the model's folder, as `markgraph.models.source.resolve` takes it."""
    sha256: str | None = None
    max_tokens: int = 256
    """Longer texts are cut here, or at the model's own limit; MiniLM was trained on 256."""
    batch_size: int = 32
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.source = pinned(self.source)  # another version's vectors don't mix with these

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process makes one: of the settings. It reads the weights itself."""
        return type(self), (self.source, self.sha256, self.max_tokens, self.batch_size)

    @property
    def name(self) -> str:
        """Return what an index remembers: vectors of two names don't mix."""
        return self.source

    @property
    def context_tokens(self) -> int:
        """Return how many tokens of a text it reads."""
        own: int = self._loaded[0].model_max_length
        return min(self.max_tokens, own)

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Return how many tokens each text takes, `[CLS]` and `[SEP]` included; several threads may ask."""
        return [len(encoding) for encoding in self._counter.encode_batch_fast(texts)]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector of length 1 for each text."""
        vectors: dict[int, list[float]] = {}
        # Texts of like length together: a batch is padded to its longest.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        with self._lock:
            for begin in range(0, len(order), self.batch_size):
                batch = order[begin : begin + self.batch_size]
                embedded = self._embed([texts[at] for at in batch]).tolist()
                vectors |= zip(batch, embedded, strict=True)
        return [vectors[at] for at in range(len(texts))]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question; this family embeds both sides alike."""
        return self.embed_documents([text])[0]

    def _embed(self, texts: list[str]) -> "torch.Tensor":
        import torch

        tokenizer, model = self._loaded
        room = self.context_tokens
        batch = tokenizer(texts, padding=True, truncation=True, max_length=room, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state  # (b, l, d)
        mask = batch["attention_mask"].unsqueeze(-1)  # (b, l, 1)
        mean = (hidden * mask).sum(1) / mask.sum(1)  # (b, d)
        return torch.nn.functional.normalize(mean, dim=-1)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from markgraph.models.weights import load_encoder

        return load_encoder(resolve_for_all(self.source, self.sha256))

    @cached_property
    def _counter(self) -> "Tokenizer":
        """A tokenizer of its own: embedding switches truncation on and off in the other."""
        from tokenizers import Tokenizer

        counter = Tokenizer.from_str(self._loaded[0].backend_tokenizer.to_str())
        counter.no_truncation()
        counter.no_padding()
        return counter


@dataclass
class HashEmbeddings(Embeddings):
    """Embeds by hashing stems into buckets: no weights, always the same, good enough for tests.

    Texts that share words are near; synonyms are not. Words are its tokens.
    """

    dimensions: int = 256
    max_tokens: int = 256
    """Words that it reads of a text; it ignores the rest."""

    def __post_init__(self) -> None:
        """Refuse vectors and texts of nothing."""
        for name, value in (("dimensions", self.dimensions), ("max_tokens", self.max_tokens)):
            if value < 1:
                raise ConfigError(f"embedder.{name} is {value}; allowed: 1 or more.")

    @property
    def name(self) -> str:
        """Return what an index remembers: vectors of two names don't mix."""
        return f"hash-{self.dimensions}"

    @property
    def context_tokens(self) -> int:
        """Return how many words of a text it reads."""
        return self.max_tokens

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Return how many words each text has."""
        return [len(text.split()) for text in texts]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector of length 1 for each text."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text."""
        vector = np.zeros(self.dimensions)
        text = " ".join(text.split()[: self.max_tokens])
        for word in words(text) or [text]:
            bucket = int.from_bytes(blake2b(word.encode(), digest_size=4).digest(), "big")
            vector[bucket % self.dimensions] += 1.0
        scaled: list[float] = (vector / np.linalg.norm(vector)).tolist()
        return scaled
