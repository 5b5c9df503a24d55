"""Mamba-2 computes what transformers computes, with a state of constant size."""

from pathlib import Path
from typing import ClassVar

from tests.engines.decoder_suite import DecoderSuite
from tests.engines.tiny import tiny_mamba2


def one_group(folder: Path) -> str:
    """Save a random Mamba-2 with one group, limits for dt, no bias, and heads that vectors don't divide."""
    return tiny_mamba2(
        folder, n_groups=1, use_conv_bias=False, time_step_limit=(0.01, 0.05), num_heads=8, head_dim=8
    )


class TestMamba2(DecoderSuite):
    KINDS: ClassVar = {"groups": tiny_mamba2, "one group": one_group}
