"""Formats for GPUs: their arithmetic is checked anywhere, and what is said where there is no GPU."""

from pathlib import Path

import pytest
import torch

from markgraph.errors import UsageError
from markgraph.models.fp8 import Fp8Linear, to_fp8
from markgraph.models.machine import gpus
from markgraph.models.placement import Placement
from markgraph.models.quality import compare_formats
from markgraph.models.reader import ModelReader
from markgraph.models.weights import load_causal
from tests.engines.tiny import tiny_llama

TEXT = [(token * 37) % 300 for token in range(200)]
without_gpu = pytest.mark.skipif(bool(gpus()), reason="tells what is said where there is no GPU")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a tiny Llama, whose weights are as large as those of a trained one."""
    tiny_llama(tmp_path, hidden_size=64, intermediate_size=128, initializer_range=0.1)
    return tmp_path


def test_an_fp8_layer_is_near_the_one_it_replaces_and_takes_a_byte_a_weight() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48)
    x = torch.randn(2, 5, 64)
    quantised = Fp8Linear(linear)
    with torch.inference_mode():
        error = (quantised(x) - linear(x)).norm() / linear(x).norm()
    assert quantised(x).shape == (2, 5, 48)
    assert error < 0.05
    assert quantised.weight.nbytes == linear.weight.numel()


def test_an_fp8_layer_gives_a_row_the_same_whoever_shares_its_batch() -> None:
    torch.manual_seed(0)
    layer = Fp8Linear(torch.nn.Linear(64, 48))
    x = torch.randn(8, 64)
    crowd = torch.cat([x[:1], 1000 * x[1:]])
    assert torch.equal(layer(crowd)[:1], layer(x)[:1])


@pytest.mark.parametrize("quantization", ["nf4", "fp8"])
def test_a_quantised_model_says_about_the_same(folder: Path, quantization: str) -> None:
    if quantization == "nf4":
        pytest.importorskip("bitsandbytes")
    _, exact = load_causal(folder, "float32")
    _, quantised = load_causal(folder, "bfloat16", Placement("cpu", quantization=quantization))
    [found] = compare_formats(ModelReader(exact), ModelReader(quantised), TEXT, widths=[128]).values()
    assert 0 < found.kl < 0.05


def test_the_head_stays_as_it_is(folder: Path) -> None:
    _, model = load_causal(folder, "float32")
    to_fp8(model)
    assert isinstance(model.model.layers[0].mlp.up_proj, Fp8Linear)
    assert type(model.get_output_embeddings()) is torch.nn.Linear


@without_gpu
@pytest.mark.parametrize("quantization", ["nf4", "fp8"])
def test_a_format_for_gpus_says_what_is_missing(folder: Path, quantization: str) -> None:
    with pytest.raises(
        UsageError, match=f"quantization={quantization} needs an NVIDIA GPU. Got: none .*mode=small"
    ):
        load_causal(folder, "auto", Placement(quantization=quantization))


def test_an_unknown_format_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'int3'. Allowed: nf4, fp8, or null"):
        Placement(quantization="int3")


def test_spreading_layers_and_cutting_them_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="one of them"):
        Placement(device_map="auto", tp_plan="auto")


def test_layers_go_where_the_device_map_says(folder: Path) -> None:
    _, model = load_causal(folder, "float32", Placement({"": "meta"}))
    assert model.device.type == "meta"
