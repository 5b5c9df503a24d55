"""LoRA adapters over one base: each row gets what PEFT says for its own adapter, whoever is beside it."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from markgraph.engines.native.decoder import Decoder
from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.native.load import load_decoder
from markgraph.engines.port import Sampling, Token
from markgraph.errors import UsageError, WeightsError
from tests.engines.tiny import tiny_llama, tiny_mamba

# PEFT reads a property of transformers by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

NAMES = (None, "law", "tax")
PROMPT = [5, 9, 40, 41, 42, 7, 100, 3, 17]
SETTINGS: Mapping[str, dict[str, Any]] = {
    "law": {"target_modules": ["q_proj", "v_proj", "down_proj"], "r": 4, "lora_alpha": 16},
    "tax": {
        "target_modules": ["k_proj", "o_proj", "gate_proj", "up_proj"],
        "r": 3,
        "lora_alpha": 5,
        "use_rslora": True,
        "layers_to_transform": [1],
    },
}


def wide_llama(folder: Path) -> str:
    """Save a Llama with heads that the compiled kernels take."""
    return tiny_llama(
        folder, hidden_size=64, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.2
    )


def tiny_qwen2(folder: Path) -> str:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 320}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 128}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, initializer_range=0.3)).save_pretrained(folder)
    return f"file:{folder}"


def save_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """Save a random LoRA over the model in `base`."""
    with torch.random.fork_rng():
        torch.manual_seed(len(str(settings)))
        model = AutoModelForCausalLM.from_pretrained(base)
        get_peft_model(model, LoraConfig(init_lora_weights=False, **settings)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[tiny_llama, wide_llama, tiny_qwen2], ids=["llama", "wide", "qwen2"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(request.param(tmp_path_factory.mktemp("base")).removeprefix("file:"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: save_adapter(base, root / name, **settings) for name, settings in SETTINGS.items()}


def logits_of_peft(base: Path, adapters: Mapping[str, Path], name: str | None, *, merged: bool) -> Tensor:
    """Return what follows each token of the prompt, (m, v)."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if name is not None:
        model = PeftModel.from_pretrained(model, adapters[name])
        if merged:
            model = model.merge_and_unload()
    with torch.inference_mode():
        logits: Tensor = model.eval()(torch.tensor([PROMPT])).logits[0]
    return logits


def answers(decoder: Decoder, names: list[str | None], ids: list[list[int]]) -> list[Tensor]:
    """Read all of `ids` together but their first token, which each reads by itself."""
    states = [decoder.open(64, name) for name in names]
    for state, each in zip(states, ids, strict=True):
        decoder.read(state, each[:1])
    return list(decoder.verify(states, [each[1:] for each in ids]))


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_equals_peft(base: Path, adapters: dict[str, Path], name: str | None, merged: bool) -> None:
    expected = logits_of_peft(base, adapters, name, merged=merged)
    decoder = load_decoder(base, "exact", adapters)
    found = answers(decoder, [name], [PROMPT])[0]
    torch.testing.assert_close(found, expected[1:], atol=2e-4, rtol=1e-4)
    whole = decoder.read(decoder.open(64, name), PROMPT)
    torch.testing.assert_close(whole, expected[-1], atol=2e-4, rtol=1e-4)


def test_adapters_change_what_is_said(base: Path, adapters: dict[str, Path]) -> None:
    decoder = load_decoder(base, "exact", adapters)
    plain, law, tax = (decoder.read(decoder.open(64, name), PROMPT) for name in NAMES)
    assert min((plain - law).abs().max(), (plain - tax).abs().max(), (law - tax).abs().max()) > 0.1


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_one_batch_of_several_adapters_gives_each_what_it_gets_alone(
    base: Path, adapters: dict[str, Path], mode: str
) -> None:
    decoder = load_decoder(base, mode, adapters)
    names = ["tax", None, "law", None, "law", "tax", "law"]
    ids = [[1 + place, *PROMPT[: 2 + place % 3]] for place in range(len(names))]
    alone = [answers(decoder, [name], [each])[0] for name, each in zip(names, ids, strict=True)]
    for together, single in zip(answers(decoder, names, ids), alone, strict=True):
        torch.testing.assert_close(together, single, atol=1e-4, rtol=1e-3)


def test_rows_of_an_integer_model_do_not_show_who_is_beside_them(
    base: Path, adapters: dict[str, Path]
) -> None:
    decoder = load_decoder(base, "fast", adapters)
    names = [NAMES[place % 3] for place in range(20)]
    states, alone = ([decoder.open(64, name) for name in names] for _ in range(2))
    singles = [torch.cat([decoder.step([state], [token]) for token in PROMPT]) for state in alone]
    steps = [decoder.step(states, [token] * 20) for token in PROMPT]
    assert torch.equal(torch.stack(steps, 1), torch.stack(singles))


@pytest.mark.parametrize(("mode", "alike"), [("fast", 0.97), ("small", 0.7)])
def test_an_adapter_changes_a_quantised_base_as_it_changes_the_exact_one(
    base: Path, adapters: dict[str, Path], mode: str, alike: float
) -> None:
    def change(decoder: Decoder, name: str) -> Tensor:
        adapted, plain = (decoder.read(decoder.open(64, each), PROMPT) for each in (name, None))
        return adapted - plain

    exact, other = (load_decoder(base, each, adapters) for each in ("exact", mode))
    for name in ("law", "tax"):
        assert torch.cosine_similarity(change(exact, name), change(other, name), dim=0) > alike


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tiny_llama(tmp_path_factory.mktemp("llama")).removeprefix("file:"))


@pytest.fixture(scope="module")
def engine(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeEngine]:
    root = tmp_path_factory.mktemp("served")
    sources = {name: f"file:{save_adapter(llama, root / name, **SETTINGS[name])}" for name in SETTINGS}
    engine = NativeEngine(f"file:{llama}", mode="exact", adapters=sources, threads=1)
    yield engine
    engine.close()


def test_the_engine_answers_with_the_adapter_that_is_asked_for(engine: NativeEngine, llama: Path) -> None:
    def ask(name: str | None) -> list[Token]:
        return list(engine.stream(PROMPT * 10, Sampling(12, adapter=name)))

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, NAMES * 4))
    folders = {name: Path(engine.adapters[name].removeprefix("file:")) for name in SETTINGS}
    for name, answer in zip(NAMES * 4, found, strict=True):
        model: Any = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
        if name is not None:
            model = PeftModel.from_pretrained(model, folders[name])
        ids = model.generate(input_ids=torch.tensor([PROMPT * 10]), max_new_tokens=12, do_sample=False)
        assert [token.id for token in answer] == ids[0, len(PROMPT) * 10 :].tolist()
    with pytest.raises(UsageError, match="no adapter 'nobody'"):
        ask("nobody")


def spoil(adapter: Path, **settings: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 2}},
        {"init_lora_weights": "pissa"},
        {"peft_type": "IA3"},
        {"of_a_later_peft": 1},
    ],
)
def test_refuses_settings_that_it_does_not_compute_with(
    llama: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    adapter = save_adapter(llama, tmp_path / "odd", target_modules=["q_proj"])
    spoil(adapter, **settings)
    with pytest.raises(UsageError, match=next(iter(settings))):
        load_decoder(llama, "exact", {"odd": adapter})


def test_refuses_modules_that_it_does_not_compute_with(llama: Path, tmp_path: Path) -> None:
    adapter = save_adapter(llama, tmp_path / "head", target_modules=["q_proj"])
    weights = adapter / "adapter_model.safetensors"
    extra = {f"base_model.model.lm_head.lora_{side}.weight": torch.zeros(8, 8) for side in "AB"}
    save_file(load_file(weights) | extra, weights)
    with pytest.raises(UsageError, match="lm_head"):
        load_decoder(llama, "exact", {"head": adapter})


def test_refuses_an_adapter_of_another_base(llama: Path, tmp_path: Path) -> None:
    wider = Path(tiny_llama(tmp_path / "wider", hidden_size=64).removeprefix("file:"))
    deeper = Path(tiny_llama(tmp_path / "deeper", num_hidden_layers=3).removeprefix("file:"))
    for other in (wider, deeper):
        adapter = save_adapter(other, tmp_path / f"of-{other.name}", target_modules=["q_proj"])
        with pytest.raises(WeightsError, match="another base model"):
            load_decoder(llama, "exact", {"other": adapter})


def test_refuses_an_adapter_that_is_not_whole(llama: Path, tmp_path: Path) -> None:
    adapter = save_adapter(llama, tmp_path / "half", target_modules=["q_proj"])
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if "lora_A" in name}, weights)
    with pytest.raises(WeightsError, match="only one of A and B"):
        load_decoder(llama, "exact", {"half": adapter})
    weights.write_bytes(b"not safetensors")
    with pytest.raises(WeightsError, match="Could not read"):
        load_decoder(llama, "exact", {"half": adapter})
    weights.unlink()
    with pytest.raises(WeightsError, match="Could not read"):
        load_decoder(llama, "exact", {"half": adapter})


def test_mamba_models_take_none(llama: Path, tmp_path: Path) -> None:
    mamba = Path(tiny_mamba(tmp_path / "mamba").removeprefix("file:"))
    adapter = save_adapter(llama, tmp_path / "law", target_modules=["q_proj"])
    with pytest.raises(UsageError, match="without adapters"):
        load_decoder(mamba, "exact", {"law": adapter})
