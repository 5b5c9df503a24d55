"""Engines compute what transformers computes, and no more than they are asked for.

The model is a Llama of 50,000 random weights, made here; the other tests of this folder borrow it.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from markgraph.errors import UsageError, WeightsError
from markgraph.models.engine import Sampling, TransformersEngine, choose

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROLS = ["<|im_start|>", "<|im_end|>", "<file_sep>"]
CORPUS = ["the user asks the assistant about notices, deadlines and payments of the controller"] * 4
PROMPTS = [f"{word} {number}" for number in range(5) for word in ("Who pays", "notice of", "deadline?", "ok")]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE with three control tokens, one of which has no role."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=CONTROLS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    roles = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHATML, **roles)


def tiny_llama(folder: Path, window: int = 512) -> str:
    """Save a random Llama, which greedily says printable ASCII only, and return the reference to it."""
    torch.set_num_threads(1)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    words = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    silent = [
        n for n, word in enumerate(words) if not (word.isascii() and word.isprintable()) or word in CONTROLS
    ]
    with torch.no_grad():
        model.lm_head.weight[silent] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"file:{folder}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    tiny_llama(path)
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(f"file:{folder}", dtype="float32")


def ids(engine: TransformersEngine, text: str) -> list[int]:
    found: list[int] = engine.tokenizer(text).input_ids
    return found


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """Count the forward passes of any Llama in this process."""
    steps: list[int] = []

    def note(module: Any, inputs: Any, output: Any) -> None:
        if isinstance(module, LlamaForCausalLM):
            steps.append(1)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    yield steps
    hook.remove()


def test_greedy_tokens_are_those_of_transformers(engine: TransformersEngine, folder: Path) -> None:
    reference = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt in PROMPTS:
        tokens = ids(engine, prompt)
        expected = reference.generate(
            torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            do_sample=False,
            max_new_tokens=16,
            pad_token_id=0,
        )[0, len(tokens) :].tolist()
        assert list(engine.stream(tokens, Sampling(max_tokens=16))) == expected
    assert len(set(map(tuple, (list(engine.stream(ids(engine, p), Sampling(8))) for p in PROMPTS)))) > 10


def test_stops_at_every_end_token_of_the_generation_config(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    source = tiny_llama(tmp_path)
    prompt = ids(engine, "Who pays")
    tokens = list(engine.stream(prompt, Sampling(max_tokens=12)))
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    settings["eos_token_id"] = [settings["eos_token_id"], tokens[3]]
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    other = TransformersEngine(source, dtype="float32")
    assert list(other.stream(prompt, Sampling(max_tokens=12))) == tokens[: tokens.index(tokens[3])]


def test_computes_nothing_ahead(engine: TransformersEngine) -> None:
    with counted_steps() as steps:
        stream = engine.stream(ids(engine, "hello"), Sampling(max_tokens=50))
        assert steps == []
        next(stream), next(stream), next(stream)
        assert len(steps) == 3
        stream.close()  # type: ignore[attr-defined]
        assert len(steps) == 3


def test_max_tokens_is_a_bound(engine: TransformersEngine) -> None:
    assert len(list(engine.stream(ids(engine, "hello"), Sampling(max_tokens=7)))) == 7


def test_a_seed_makes_sampling_repeatable(engine: TransformersEngine) -> None:
    def sample(seed: int | None) -> list[int]:
        return list(engine.stream(ids(engine, "hello"), Sampling(16, temperature=2.0, seed=seed)))

    assert sample(1) == sample(1)
    assert len({tuple(sample(seed)) for seed in range(5)}) > 1


def test_two_at_once_get_what_each_gets_alone(engine: TransformersEngine) -> None:
    def answer(prompt: str) -> list[int]:
        return list(engine.stream(ids(engine, prompt), Sampling(20, temperature=1.0, seed=3)))

    alone = [answer(prompt) for prompt in PROMPTS[:8]]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(answer, PROMPTS[:8])) == alone


def test_reads_its_weights_at_the_first_call(tmp_path: Path) -> None:
    engine = TransformersEngine(f"file:{tmp_path / 'nowhere'}")
    with pytest.raises(WeightsError, match="is not there"):
        _ = engine.tokenizer


def test_a_wrong_dtype_names_the_allowed_ones(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"'float99'.*auto, float32, bfloat16"):
        _ = TransformersEngine(f"file:{folder}", dtype="float99").context_tokens


def test_knows_its_window(engine: TransformersEngine) -> None:
    assert engine.context_tokens == 512


LOGITS = torch.tensor([1.0, 5.0, 3.0, 0.0])


def drawn(sampling: Sampling) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    return {choose(LOGITS, sampling, generator) for _ in range(300)}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), {1}),
        (Sampling(temperature=1.0, top_p=0.0), {1}),
        (Sampling(temperature=1.0, top_p=0.5), {1}),
        (Sampling(temperature=1.0, top_p=0.95), {1, 2}),
        (Sampling(temperature=5.0), {0, 1, 2, 3}),
        (Sampling(temperature=1e-6), {1}),
        (Sampling(temperature=1e-39), {1}),
    ],
)
def test_draws_from_the_nucleus_only(sampling: Sampling, expected: set[int]) -> None:
    assert drawn(sampling) == expected


def test_draws_as_often_as_the_softmax_says() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [choose(LOGITS, Sampling(temperature=2.0), generator) for _ in range(4000)]
    wanted = (LOGITS / 2.0).softmax(-1).tolist()
    assert [draws.count(token) / 4000 for token in range(4)] == pytest.approx(wanted, abs=0.03)
