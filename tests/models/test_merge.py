"""An adapter that is merged into its base answers as PEFT does, in every engine, and is merged once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from markgraph.engines.fallback import FallbackEngine
from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.native.load import load_decoder
from markgraph.engines.port import Sampling
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import UsageError, WeightsError
from markgraph.models.gate import note_of
from markgraph.models.merge import KEPT, merged
from markgraph.models.weights import load_tokenizer
from tests.engines.tiny import tiny_llama, tiny_mamba, tiny_mamba2

# PEFT reads a property of transformers by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

PROMPT = [5, 9, 40, 41, 42, 7, 100, 3, 17]
FAMILIES: dict[str, tuple[Callable[[Path], str], list[str]]] = {
    "llama": (tiny_llama, ["q_proj", "o_proj", "down_proj"]),
    "mamba": (tiny_mamba, ["in_proj", "x_proj"]),
    "mamba2": (tiny_mamba2, ["in_proj"]),
}


def save_adapter(base: Path, folder: Path, seed: int = 0, **settings: Any) -> Path:
    """Save a random LoRA over the model in `base`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base)
        lora = LoraConfig(init_lora_weights=False, r=4, lora_alpha=16, **settings)
        get_peft_model(model, lora).save_pretrained(folder)
    return folder


def logits_of_peft(base: Path, adapter: Path | None) -> Tensor:
    """Return what follows each token of the prompt, (m, v); the adapter lies beside the base."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        found: Tensor = model.eval()(torch.tensor([PROMPT])).logits[0]
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a base and an adapter for it."""
    make, targets = FAMILIES[request.param]
    root = tmp_path_factory.mktemp(request.param)
    make(root / "base")
    return root / "base", save_adapter(root / "base", root / "adapter", target_modules=targets)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("one")
    tiny_llama(root / "base")
    return root / "base", save_adapter(root / "base", root / "adapter", target_modules=["q_proj"])


def test_equals_peft_in_transformers_and_in_the_native_engine(pair: tuple[Path, Path]) -> None:
    base, adapter = pair
    expected, bare = logits_of_peft(base, adapter), logits_of_peft(base, None)
    assert (expected - bare).abs().max() > 0.1
    folder = merged(base, adapter)
    torch.testing.assert_close(logits_of_peft(folder, None), expected, atol=2e-4, rtol=1e-4)
    decoder = load_decoder(folder, "exact")
    state = decoder.open(64)
    torch.testing.assert_close(decoder.verify([state], [PROMPT])[0], expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["exact", "fast", "small"])
def test_every_mode_serves_it(pair: tuple[Path, Path], mode: str) -> None:
    base, adapter = pair
    told = []
    for settings in ({"source": f"file:{base}", "adapter": f"file:{adapter}"}, {"source": f"file:{base}"}):
        engine = NativeEngine(**settings, mode=mode, gate=False, threads=1)
        told.append(list(engine.stream(PROMPT, Sampling(6, logprobs=0))))
        engine.close()
    assert told[0] != told[1]


@pytest.mark.parametrize("kind", [NativeEngine, TransformersEngine, FallbackEngine])
def test_every_engine_serves_it(llama: tuple[Path, Path], kind: Any) -> None:
    base, adapter = llama
    settings = {"native": lambda **own: NativeEngine(**own, mode="exact", threads=1)}
    engine = kind(f"file:{base}", adapter=f"file:{adapter}", **settings if kind is FallbackEngine else {})
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    expected = model.generate(input_ids=torch.tensor([PROMPT]), max_new_tokens=8, do_sample=False)
    assert [token.id for token in engine.stream(PROMPT, Sampling(8))] == expected[0, len(PROMPT) :].tolist()
    assert engine.references(None) == (f"file:{base}", f"file:{adapter}")
    assert engine.bare().references(None) == (f"file:{base}",)


def test_is_merged_once_and_again_when_either_changes(llama: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = llama
    first = merged(base, adapter)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert merged(base, adapter) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    other = save_adapter(base, tmp_path / "other", seed=1, target_modules=["q_proj"])
    assert merged(base, other) != first
    assert note_of(merged(base, other), "fast", 1) != note_of(first, "fast", 1) != note_of(base, "fast", 1)
    assert load_tokenizer(first).chat_template == load_tokenizer(base).chat_template


def test_the_cache_keeps_a_few_that_were_used_last(llama: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = llama
    first = merged(base, adapter)
    others = []
    for seed in range(1, KEPT + 2):
        other = save_adapter(base, tmp_path / f"a{seed}", seed=seed, target_modules=["q_proj"])
        others.append(merged(base, other))
        assert merged(base, adapter) == first
    assert all(each.is_dir() for each in others)  # another process may just be loading them
    for at, other in enumerate(others):
        os.utime(other, (at, at))
    assert merged(base, adapter) == first
    assert [each.is_dir() for each in others] == [False, False, *[True] * (KEPT - 1)]


def test_a_small_change_of_a_bfloat16_model_is_not_rounded_away(tmp_path: Path) -> None:
    tiny_llama(tmp_path / "float32")
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "float32", dtype=torch.bfloat16)
    model.save_pretrained(base)
    load_tokenizer(tmp_path / "float32").save_pretrained(base)
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    factors = load_file(adapter / "adapter_model.safetensors")
    save_file({key: each * 0.01 for key, each in factors.items()}, adapter / "adapter_model.safetensors")
    found = logits_of_peft(merged(base, adapter), None)
    expected = logits_of_peft(base, adapter)
    assert (expected - logits_of_peft(base, None)).abs().max() > 1e-4
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_refuses_an_adapter_of_another_base(llama: tuple[Path, Path], tmp_path: Path) -> None:
    _, adapter = llama
    tiny_llama(tmp_path / "wider", hidden_size=64)
    tiny_mamba2(tmp_path / "mamba2")
    for other, said in (("wider", "product of the shape"), ("mamba2", "lacks")):
        with pytest.raises(WeightsError, match=said):
            merged(tmp_path / other, adapter)


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"rank_pattern": {"q_proj": 2}}]
)
def test_refuses_what_it_does_not_compute_with(
    llama: tuple[Path, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    adapter = save_adapter(llama[0], tmp_path / "odd", target_modules=["q_proj"])
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(UsageError, match=next(iter(settings))):
        merged(llama[0], adapter)


KILLED = """
import os, signal, sys
from pathlib import Path
from markgraph.models.merge import merged

sys.addaudithook(lambda event, about: event == "os.rename" and os.kill(os.getpid(), signal.SIGKILL))
merged(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_merge_that_is_killed_is_made_anew(llama: tuple[Path, Path], cache: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, *map(str, llama)]
    done = subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert done.returncode == -signal.SIGKILL
    assert [each.suffix for each in (cache / "merged").iterdir() if each.is_dir()] == [".converting"]
    torch.testing.assert_close(
        logits_of_peft(merged(*llama), None), logits_of_peft(*llama), atol=2e-4, rtol=1e-4
    )
