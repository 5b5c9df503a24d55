"""The parity gate: it lets through what is served as it was trained, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from markgraph.models.merge import merged
from markgraph.models.weights import load_tokenizer
from markgraph.training.base import Base
from markgraph.training.parity import ParityError, check_parity
from markgraph.training.rows import Row
from tests.engines.tiny import CHATML, tiny_llama, tiny_mamba, tiny_mamba2

# PEFT reads a property of transformers by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

ROWS: list[Row] = [
    {
        "id": f"{number:064x}",
        "source": "test",
        "documents": [],
        "readers": ["public"],
        "messages": [
            {"role": "system", "content": "Answer from the passages."},
            {"role": "user", "content": f"[1] The controller pays in {number} days.\n\nQuestion: when?"},
        ],
        "completion": f"Within {number} days [1].",
    }
    for number in range(3)
]
FAMILIES: dict[str, tuple[Callable[[Path], str], list[str]]] = {
    "llama": (tiny_llama, ["q_proj", "o_proj", "down_proj"]),
    "mamba": (tiny_mamba, ["in_proj", "x_proj"]),
    "mamba2": (tiny_mamba2, ["in_proj"]),
}


def save_adapter(base: Path, folder: Path, targets: list[str]) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        lora = LoraConfig(init_lora_weights=False, r=4, lora_alpha=8, target_modules=targets)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Path]:
    """Return a base, and an adapter for it."""
    make, targets = FAMILIES[request.param]
    root = tmp_path_factory.mktemp(request.param)
    base = Base("tiny", make(root / "base"))
    return base, save_adapter(base.folder, root / "adapter", targets)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Path]:
    root = tmp_path_factory.mktemp("llama")
    base = Base("tiny", tiny_llama(root / "base"))
    return base, save_adapter(base.folder, root / "adapter", ["q_proj", "down_proj"])


def test_a_merged_adapter_is_served_as_it_was_trained(trained: tuple[Base, Path]) -> None:
    base, adapter = trained
    found = check_parity(base, adapter, ROWS, mode="exact")
    assert found.rows == 3
    assert {1, 128} == found.modes["exact"].keys()
    assert found.modes["exact"][1].tokens == found.tokens - 3
    assert json.loads(json.dumps(found.as_json()))["modes"]["exact"]["1"]["top1"] == 1.0


def test_a_whole_model_is_served_as_it_was_trained(llama: tuple[Base, Path], tmp_path: Path) -> None:
    base, adapter = llama
    shutil.copytree(merged(base.folder, adapter), tmp_path / "whole")
    assert check_parity(base, tmp_path / "whole", ROWS, mode="exact").rows == 3


def test_int8_is_within_its_bounds(llama: tuple[Base, Path], tmp_path: Path) -> None:
    base = Base("small", tiny_llama(tmp_path / "base", hidden_size=128, initializer_range=0.02))
    adapter = save_adapter(base.folder, tmp_path / "adapter", ["q_proj"])
    found = check_parity(base, adapter, ROWS, mode="fast")
    assert found.modes["fast"][1].kl < 0.01
    assert found.modes["fast"][1] != found.modes["exact"][1]


def served(llama: tuple[Base, Path], folder: Path) -> Path:
    """Return a copy of what is served, to be spoiled."""
    base, adapter = llama
    shutil.copytree(merged(base.folder, adapter), folder)
    (folder / "markgraph-manifest.json").unlink()
    return folder


def other_template(folder: Path, template: str, **settings: Any) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    for name, value in settings.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("template", "position", "shown"),
    [
        (CHATML.replace("\n", " "), 7, "'system\\nAnswer'"),
        ("<|im_start|>" + CHATML, 1, "<|im_start|><|im_start|>"),
        (CHATML.replace("assistant\n", "assistant: "), None, "assistant: "),
    ],
    ids=["other line breaks", "one more BOS", "other header"],
)
def test_a_changed_template_shows_the_first_token_that_differs(
    llama: tuple[Base, Path], tmp_path: Path, template: str, position: int | None, shown: str
) -> None:
    folder = served(llama, tmp_path / "served")
    other_template(folder, template)
    with pytest.raises(ParityError, match="is not served as it was trained") as caught:
        check_parity(*llama, ROWS, served=folder)
    assert shown in str(caught.value)
    assert "Row 000000000000" in str(caught.value)
    if position is not None:
        assert f"at position {position}," in str(caught.value)


def test_an_end_at_which_serving_does_not_stop_is_caught(llama: tuple[Base, Path], tmp_path: Path) -> None:
    folder = served(llama, tmp_path / "served")
    other_template(folder, CHATML, eos_token="<file_sep>")
    for name in ("generation_config.json", "config.json"):
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(config | {"eos_token_id": 2}))
    with pytest.raises(ParityError, match=r"training has token \[1\] in .*<.im_end.>', serving token \[2\]"):
        check_parity(*llama, ROWS, served=folder)


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ([1, 5], r"only serving ends answers at 5 \('.+'\)\. Give generation_config\.json"),
        ([1, 5, 2], r"only serving ends answers at 2 \(.*\), 5 \("),
    ],
)
def test_another_end_at_which_serving_stops_is_caught(
    llama: tuple[Base, Path], tmp_path: Path, ends: list[int], says: str
) -> None:
    folder = served(llama, tmp_path / "served")
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": ends}))
    with pytest.raises(ParityError, match=says):
        check_parity(*llama, ROWS, served=folder)


def test_an_end_that_only_training_has_is_caught(llama: tuple[Base, Path], tmp_path: Path) -> None:
    base, adapter = llama
    folder = served(llama, tmp_path / "served")
    shutil.copytree(base.folder, tmp_path / "base")
    file = tmp_path / "base" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [1, 5]}))
    (tmp_path / "base" / "markgraph-manifest.json").unlink(missing_ok=True)
    with pytest.raises(ParityError, match=r"only training ends answers at 5 \("):
        check_parity(Base("tiny", f"file:{tmp_path / 'base'}"), adapter, ROWS, served=folder)


def test_another_dtype_is_caught(llama: tuple[Base, Path], tmp_path: Path) -> None:
    folder = served(llama, tmp_path / "served")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    with pytest.raises(ParityError, match="mode exact does not predict what was trained"):
        check_parity(*llama, ROWS, served=folder)


def test_a_wrong_scale_of_the_adapter_is_caught(llama: tuple[Base, Path], tmp_path: Path) -> None:
    base, adapter = llama
    shutil.copytree(adapter, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 9}))
    with pytest.raises(ParityError, match="mode exact does not predict what was trained"):
        check_parity(*llama, ROWS, served=merged(base.folder, tmp_path / "adapter"))


def test_the_bare_base_is_not_taken_for_the_trained_model(llama: tuple[Base, Path]) -> None:
    with pytest.raises(ParityError, match="does not predict"):
        check_parity(*llama, ROWS, served=llama[0].folder)


def test_an_adapter_that_mamba_computes_past_is_caught(tmp_path: Path) -> None:
    base = Base("tiny", tiny_mamba(tmp_path / "base"))
    adapter = save_adapter(base.folder, tmp_path / "adapter", ["dt_proj"])  # its weight is read without it
    with pytest.raises(ParityError, match="does not predict"):
        check_parity(base, adapter, ROWS, mode="exact")
