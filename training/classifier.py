"""Language models with one number at their end, for Mamba as for the families that transformers has it for.

Does NOT include: losses; who trains one has his own.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, Mamba2Config, MambaConfig
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.mamba.modeling_mamba import MambaPreTrainedModel
from transformers.models.mamba2.modeling_mamba2 import Mamba2PreTrainedModel

from markgraph.models.bars import bars_for_people
from markgraph.models.safe_config import safe_config
from markgraph.training.base import Base
from markgraph.training.extra import adapted
from markgraph.training.scoring import is_adapter


class _Classifier:
    """Reads the score of a text off its last token that is no padding."""

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        self.num_labels = config.num_labels
        self.backbone = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()  # type: ignore[attr-defined]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
        """Return logits (b, labels) for ids (b, l), padded on either side."""
        hidden = self.backbone(input_ids, attention_mask=attention_mask, **options).last_hidden_state
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        last = (torch.arange(real.shape[1], device=real.device) * real).argmax(-1)  # (b,)
        return SequenceClassifierOutput(
            logits=self.score(hidden[torch.arange(len(last), device=real.device), last])
        )


class MambaForSequenceClassification(_Classifier, MambaPreTrainedModel):  # type: ignore[no-untyped-call]
    """Mamba with a score."""


class Mamba2ForSequenceClassification(_Classifier, Mamba2PreTrainedModel):  # type: ignore[no-untyped-call]
    """Mamba-2 with a score."""


def register() -> None:
    """Let `AutoModelForSequenceClassification` find these two."""
    # Without exist_ok transformers silently keeps to its own list for its own configs.
    AutoModelForSequenceClassification.register(MambaConfig, MambaForSequenceClassification, exist_ok=True)
    AutoModelForSequenceClassification.register(Mamba2Config, Mamba2ForSequenceClassification, exist_ok=True)


def reward_model(base: Base, model: Path | None = None, seed: int = 0) -> Any:
    """Return a model with one score, float32 on the processor.

    Args:
        base: what it starts from.
        model: what training has saved; None: a score of random weights on the base.
        seed: of these.
    """
    folder = base.folder if model is None or is_adapter(model) else model
    scored = _loaded(folder, base, seed)
    if model is not None and is_adapter(model):
        scored = adapted(scored, model)
    return scored.eval()


def _loaded(folder: Path, base: Base, seed: int) -> Any:
    register()
    config = safe_config(folder)
    config.num_labels = 1
    with torch.random.fork_rng(), _untold(), bars_for_people():
        torch.manual_seed(seed)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    # Llama's own class finds the end of a text by it. Set before loading, it would not be learned.
    pad = base.tokenizer.pad_token_id
    model.config.pad_token_id = base.tokenizer.eos_token_id if pad is None else pad
    return model


class _untold:  # noqa: N801 -- reads as a statement
    """Keeps transformers from telling that the score is new and the output matrix left over."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("transformers")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
