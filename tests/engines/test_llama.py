"""The native decoder of Llama-kind models computes what transformers computes, whoever shares the batch."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from markgraph.engines.native import kernels
from markgraph.engines.native.compiled import CompiledLlama
from markgraph.engines.native.eager import EagerLlama
from markgraph.engines.native.linear import FORMS, Linear, unpack_int4
from markgraph.engines.native.llama import LlamaDecoder
from markgraph.engines.native.load import load_decoder
from markgraph.engines.native.probe import relative_error, serving
from markgraph.errors import UsageError, WeightsError
from tests.engines.tiny import tiny_llama

PROMPTS = [[(7 * n) % 300 for n in range(length)] for length in (90, 3, 65, 20)]
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}


def small_llama(folder: Path) -> None:
    tiny_llama(folder, **SIZES)


def small_qwen2(folder: Path) -> None:
    save(Qwen2ForCausalLM, Qwen2Config(vocab_size=322, tie_word_embeddings=True, **SIZES), folder)


def small_qwen3(folder: Path) -> None:
    save(Qwen3ForCausalLM, Qwen3Config(vocab_size=322, **SIZES), folder)


def save(kind: Any, config: Any, folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = kind(config)
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "norm.weight")):
                torch.nn.init.normal_(parameter, mean=1.0, std=0.2)
    model.save_pretrained(folder)


KINDS: dict[str, Callable[[Path], None]] = {"llama": small_llama, "qwen2": small_qwen2, "qwen3": small_qwen3}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    KINDS[request.param](folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    small_llama(folder)
    return folder


def load(folder: Path, mode: str) -> LlamaDecoder:
    decoder = load_decoder(folder, mode)
    assert isinstance(decoder, LlamaDecoder)
    return decoder


def reference(folder: Path, ids: list[int]) -> torch.Tensor:
    """Return transformers' logits after each token, (l, v)."""
    with torch.inference_mode():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


def test_gives_the_logits_that_transformers_gives(folder: Path) -> None:
    decoder, ids = load(folder, "exact"), PROMPTS[0]
    expected = reference(folder, ids)
    torch.testing.assert_close(decoder.read(decoder.open(90), ids), expected[-1], atol=1e-3, rtol=1e-4)
    found = decoder.verify([decoder.open(90)], [ids])[0]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("mode", "limit"), [("fast", 0.1), ("small", 0.8)])
def test_says_nearly_the_same_with_fewer_bits(mode: str, limit: float, folder: Path) -> None:
    decoder = load(folder, mode)
    found = decoder.verify([decoder.open(90)], [PROMPTS[0]])[0]
    assert 0 < relative_error(found, reference(folder, PROMPTS[0])) < limit


@pytest.mark.parametrize("mode", ["exact", "fast", "small"])
def test_reads_on_from_where_it_was(mode: str, folder: Path) -> None:
    decoder, ids = load(folder, mode), PROMPTS[0]
    state = decoder.open(90)
    for run in (ids[:1], ids[1:40], ids[40:]):
        logits = decoder.read(state, run)
    assert state.length == 90
    assert relative_error(logits, decoder.read(decoder.open(90), ids)) < (0.05 if mode == "fast" else 0.02)


def test_the_kernels_answer_alike_whoever_shares_the_batch(folder: Path) -> None:
    decoder = compiled(folder)
    alone, together = read(decoder), read(decoder)
    for token in (5, 6, 7):
        logits = decoder.step(together, [token] * len(together))
        for row, state in zip(logits, alone, strict=True):
            assert torch.equal(row, decoder.step([state], [token])[0])


def test_the_kernels_answer_alike_on_any_number_of_threads(folder: Path) -> None:
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            decoder = compiled(folder)
            states = read(decoder)
            verified = decoder.verify(states, [PROMPTS[0][: n + 1] for n in range(len(states))])
            found.append([*decoder.step(states, [5] * len(states)), *verified])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("length", [2, 9, 40])
def test_the_kernels_verify_what_they_would_have_said(length: int, folder: Path) -> None:
    """Drafts of any length, with few rows and with many, are lossless to the last bit."""
    decoder, draft = compiled(folder), PROMPTS[0][:length]
    state, again = read(decoder)[0], read(decoder)[0]
    stepped = torch.cat([decoder.step([state], [token]) for token in draft])
    assert torch.equal(decoder.verify([again], [draft])[0], stepped)
    decoder.rewind(again, again.length - 1)
    assert torch.equal(decoder.step([again], draft[-1:])[0], stepped[-1])


@pytest.mark.parametrize("chunk", [1, 7, 30])
def test_the_kernels_read_alike_in_chunks_of_any_size(chunk: int, folder: Path) -> None:
    decoder = compiled(folder)
    whole, parts = decoder.open(90), decoder.open(90)
    decoder.read(whole, PROMPTS[0])
    for start in range(0, 90, chunk):
        decoder.read(parts, PROMPTS[0][start : start + chunk])
    assert torch.equal(decoder.step([whole], [1]), decoder.step([parts], [1]))


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_goes_on_from_snapshots(mode: str, llama: Path) -> None:
    decoder = load(llama, mode)
    state, again = decoder.open(100), decoder.open(100)
    decoder.read(state, PROMPTS[0][:64])
    first = decoder.save(state, 0)
    decoder.read(state, PROMPTS[0][64:])
    second = decoder.save(state, 64)
    decoder.restore(again, [first, second])
    assert (second.start, second.end, again.length) == (64, 90, 90)
    assert torch.equal(decoder.step([again], [1]), decoder.step([state], [1]))


def test_gives_room_back(llama: Path) -> None:
    decoder = load(llama, "fast")
    states = [decoder.open(100) for _ in range(4)]
    size = decoder._pool.slots
    for _ in range(20):
        states.pop(0)
        states.append(decoder.open(100))
    assert decoder._pool.slots == size


def test_gives_back_what_a_busy_time_needed(llama: Path) -> None:
    decoder = load(llama, "fast")
    states = [decoder.open(100) for _ in range(40)]
    busy = decoder._pool.slots
    states.clear()
    decoder.open(100)
    assert decoder._pool.slots < busy / 4


def test_states_that_end_on_other_threads_give_each_run_back_once(llama: Path) -> None:
    decoder = load(llama, "fast")
    ended: Queue[Any] = Queue()
    thread = Thread(target=lambda: all(iter(ended.get, None)))
    thread.start()
    for _ in range(500):
        ended.put(decoder.open(100))
    ended.put(None)
    thread.join()
    states = [decoder.open(100) for _ in range(100)]
    runs = sorted((state.offset, state.offset + state.capacity) for state in states)
    assert all(end <= start for (_, end), (start, _) in pairwise(runs))


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 40])
def test_int8_products_are_exact(rows: int) -> None:
    for outputs, inputs in ((7, 48), (64, 64), (50, 192)):
        linear, x = Linear(torch.randn(outputs, inputs), FORMS["int8"]), torch.randn(rows, inputs)
        a, _ = linear.form.prepare(x)
        _, scale, _, q = linear.packed
        exact = (a.to(torch.int64) - 128) @ q.to(torch.int64).t()
        assert torch.equal(linear.multiply(a), exact.float() * scale)


def test_weights_may_be_compiled_twice(folder: Path) -> None:
    first = compiled(folder)
    again = LlamaDecoder(first.weights, torch.bfloat16)
    assert isinstance(again._runner, CompiledLlama)
    ids = PROMPTS[0]
    assert torch.equal(first.read(first.open(90), ids), again.read(again.open(90), ids))


def test_int4_is_unpacked_to_what_it_multiplies() -> None:
    linear, x = Linear(torch.randn(128, 64), FORMS["int4"]), torch.randn(3, 64)
    unpacked = unpack_int4(linear.packed, 64).float()
    assert relative_error(linear(x), x.bfloat16().float() @ unpacked.t()) < 0.01


def test_a_form_that_multiplies_wrongly_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        name = "int8"

        def pack(self, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (weight,)

        def prepare(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x.new_ones(1, 1)

        def multiply(self, a: torch.Tensor, packed: tuple[torch.Tensor, ...]) -> torch.Tensor:
            return (a @ packed[0].t()).clamp(-1, 1)

    monkeypatch.setitem(FORMS, "int8", Wrong())
    serving.cache_clear()
    assert serving("int8", 1).name in ("bfloat16", "float32")
    serving.cache_clear()


def test_serves_without_a_compiler(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    kernels.built.cache_clear()
    decoder = load(llama, "fast")
    kernels.built.cache_clear()
    assert isinstance(decoder._runner, EagerLlama)
    found = decoder.verify([decoder.open(90)], [PROMPTS[0]])[0]
    assert relative_error(found, reference(llama, PROMPTS[0])) < 0.1


@pytest.mark.parametrize(
    ("changes", "wrong"), [({"hidden_act": "gelu"}, "hidden_act"), ({"mlp_bias": True}, "mlp_bias")]
)
def test_refuses_what_it_does_not_know(changes: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    tiny_llama(tmp_path, **changes)
    with pytest.raises(UsageError, match=wrong):
        load_decoder(tmp_path, "fast")


def test_names_the_modes(llama: Path) -> None:
    with pytest.raises(UsageError, match="Allowed: exact, fast, small"):
        load_decoder(llama, "quick")


def test_says_that_there_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_decoder(tmp_path, "fast")


def compiled(folder: Path) -> LlamaDecoder:
    decoder = load(folder, "fast")
    assert isinstance(decoder._runner, CompiledLlama)
    return decoder


def read(decoder: LlamaDecoder) -> list[Any]:
    states = [decoder.open(150) for _ in PROMPTS]
    for state, ids in zip(states, PROMPTS, strict=True):
        decoder.read(state, ids)
    return states
