"""Trains a small language model from nothing: its tokenizer, then its weights, on the rows' texts.

What comes out is a model like any other: it can be instruction-tuned, served and evaluated by its folder.
Does NOT include: scaling rules, mixtures of sources, separation of the documents that share a sequence.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from markgraph.errors import ConfigError
from markgraph.models.weights import load_causal, load_tokenizer
from markgraph.training.base import Base
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.rows import Kind, Row
from markgraph.training.settings import Settings
from markgraph.training.whole import WholeTrainer

START, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
"""What begins a text and pads; what begins a turn of a chat; what ends one."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML; the generation tags say which tokens an assistant says."""


def _llama(width: int) -> dict[str, int]:
    heads = max(1, width // 64)
    inner = {"intermediate_size": math.ceil(width * 8 / 3 / 32) * 32}
    return inner | {"num_attention_heads": heads, "num_key_value_heads": heads}


def _mamba(width: int) -> dict[str, int]:  # noqa: ARG001
    return {"state_size": 16}


def _mamba2(width: int) -> dict[str, int]:
    head = min(64, 2 * width)
    return {
        "num_heads": 2 * width // head,
        "head_dim": head,
        "state_size": 32,
        "n_groups": 1,
        "chunk_size": 32,
    }


_ARCHITECTURES = {"llama": _llama, "mamba": _mamba, "mamba2": _mamba2}
"""To the sizes, beside width and depth, that go with a width."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(Settings):
    """Next-token prediction over texts that follow one another, cut into sequences of one length."""

    name: str = "pretrain"
    kind: Kind = "text"
    metric: str = "log_likelihood"
    """In bits per byte: models with other tokenizers compare."""

    architecture: str = "mamba2"
    """llama, mamba or mamba2."""
    hidden_size: int = 192
    layers: int = 4
    sizes: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the architecture's own, as transformers names them: state_size, num_key_value_heads, ..."""
    vocabulary: int = 2048
    """Tokens at most: 256 bytes, 3 control tokens, and what occurs together most often."""
    context: int = 256
    """Tokens in a sequence."""
    epochs: float = 5.0
    learning_rate: float = 3e-3
    warmup: float = 0.05
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora is not None:
            raise ConfigError("method.lora is set. Allowed: null, for there is nothing yet to adapt.")

    def origin(self, base: Base) -> None:
        """Return None: there is nothing before it."""

    def training(self, job: Job) -> Training:
        """Return the training of a new model on the texts of a job; its base is not used.

        Raises:
            ConfigError: there is no such architecture, it has no such size, or the texts are too few.
        """
        tokenizer = self._tokenizer(job)
        torch.manual_seed(job.seed)
        model = AutoModelForCausalLM.from_config(self._config(tokenizer))  # type: ignore[no-untyped-call]
        return WholeTrainer(
            self,
            job,
            model=model,
            train_dataset=self._sequences(tokenizer, job.rows),
            eval_dataset=self._sequences(tokenizer, job.held) if job.held else None,
            processing_class=tokenizer,
        )

    def scores(
        self,
        base: Base,  # noqa: ARG002 -- the port has it
        model: Path | None,
        rows: Sequence[Row],
        each: Each = every_row,
    ) -> Scores:
        """Return the logarithm of each text's probability, in bits per byte.

        What this starts from is no model: to it all bytes are alike.
        """
        if model is None:
            return {self.metric: [-8.0] * len(rows)}
        tokenizer, scored = load_causal(model, "float32")

        def score(some: Sequence[Row]) -> Scores:
            return {
                self.metric: [bits_per_byte(scored, tokenizer, row["text"], self.context) for row in some]
            }

        return each(score, rows)

    def _tokenizer(self, job: Job) -> Any:
        """Return the tokenizer of this run, which is made once: a resumed run must have the same."""
        folder = job.folder / "tokenizer"
        if not folder.exists():
            tokenizer = trained_tokenizer((row["text"] for row in job.rows), self.vocabulary)
            draft = job.folder / "tokenizer.part"
            tokenizer.save_pretrained(draft)
            draft.rename(folder)
        return load_tokenizer(folder)

    def _config(self, tokenizer: Any) -> Any:
        if self.architecture not in _ARCHITECTURES:
            allowed = ", ".join(_ARCHITECTURES)
            raise ConfigError(f"method.architecture is {self.architecture!r}. Allowed: {allowed}.")
        known = AutoConfig.for_model(self.architecture).to_dict()
        if unknown := self.sizes.keys() - known.keys():
            raise ConfigError(
                f"method.sizes has {', '.join(sorted(unknown))}. Allowed for {self.architecture}: "
                f"{', '.join(sorted(known))}."
            )
        settings: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "initializer_range": 0.02,
            "tie_word_embeddings": True,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        made = _ARCHITECTURES[self.architecture](self.hidden_size)
        try:
            return AutoConfig.for_model(self.architecture, **settings | made | dict(self.sizes))
        except (ValueError, StrictDataclassError) as error:
            reason = " ".join(str(error).split())
            told = f"These sizes make no {self.architecture}: {reason} Correct method.sizes."
            raise ConfigError(told) from error

    def _sequences(self, tokenizer: Any, rows: Sequence[Row]) -> list[dict[str, Tensor]]:
        sequences = packed(tokenizer, (row["text"] for row in rows), self.context)
        if not len(sequences):
            raise ConfigError(
                f"The texts of {len(rows)} rows are shorter than one sequence of {self.context} tokens. "
                "Allowed: more text, or a smaller method.context."
            )
        return [{"input_ids": each, "labels": each} for each in sequences]


def trained_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Return a byte-level BPE (Sennrich et al. 2016; over bytes: Radford et al. 2019) that can chat."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, TURN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    roles = {"bos_token": START, "pad_token": START, "eos_token": END}
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE, **roles)


def packed(tokenizer: Any, texts: Iterable[str], length: int) -> Tensor:
    """Return the texts' tokens, each text behind a start, as (n, length); an end is left over."""
    stream = [
        token
        for text in texts
        for token in (tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids)
    ]
    whole = len(stream) // length
    return torch.tensor(stream[: whole * length], dtype=torch.long).view(whole, length)


@torch.inference_mode()
def bits_per_byte(model: Any, tokenizer: Any, text: str, window: int) -> float:
    """Return log2 P(text) / bytes; each window of tokens is read behind a start, without what was before."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    nats = 0.0
    for begin in range(0, len(ids), window):
        tokens = torch.tensor([[tokenizer.bos_token_id, *ids[begin : begin + window]]])
        logits = model(input_ids=tokens.to(model.device)).logits[0, :-1].float().cpu()  # (t, v)
        nats -= float(cross_entropy(logits, tokens[0, 1:], reduction="sum"))
    return nats / math.log(2) / max(1, len(text.encode()))
