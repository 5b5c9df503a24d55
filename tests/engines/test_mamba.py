"""Mamba and FalconMamba compute what transformers computes, with a state of constant size."""

from pathlib import Path
from typing import ClassVar

import torch
from transformers import FalconMambaConfig, FalconMambaForCausalLM

from tests.engines.decoder_suite import DecoderSuite
from tests.engines.tiny import tiny_mamba


def tiny_falcon(folder: Path) -> None:
    """Save a random FalconMamba with all its biases, and a state that vectors don't divide."""
    config = FalconMambaConfig(
        vocab_size=320,
        hidden_size=32,
        state_size=6,
        num_hidden_layers=2,
        initializer_range=0.5,
        use_bias=True,
        time_step_rank=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FalconMambaForCausalLM(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)


class TestMamba(DecoderSuite):
    KINDS: ClassVar = {"mamba": tiny_mamba, "falcon": tiny_falcon}
