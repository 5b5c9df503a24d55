"""A small model of each family is made from nothing, and is then tuned and served like any other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from markgraph.engines.native.engine import NativeEngine
from markgraph.errors import ConfigError
from markgraph.models.chat import LocalChatModel
from markgraph.training.base import Base
from markgraph.training.lora import Lora
from markgraph.training.port import Job
from markgraph.training.pretrain import END, START, Pretrain, bits_per_byte, packed, trained_tokenizer
from markgraph.training.rows import Row
from markgraph.training.scoring import load
from markgraph.training.sft import Sft
from tests.training.facts import FACTS, FAMILIES, answer, chat_rows, tiny_base

SENTENCES = ["The controller pays within thirty days.", "A notice is given by the user.", "Payments are due."]
FAST: dict[str, Any] = {
    "hidden_size": 64,
    "layers": 2,
    "vocabulary": 300,
    "context": 32,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "epochs": 100,
}


def text_rows(count: int = 30) -> list[Row]:
    texts = [" ".join(SENTENCES[(at + step) % 3] for step in range(3)) for at in range(count)]
    return [
        Row(id=str(at), source="test", documents=[], readers=["public"], text=text)
        for at, text in enumerate(texts)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_made_from_nothing_is_tuned_and_served(family: str, tmp_path: Path) -> None:
    unused = tiny_base("llama", tmp_path / "unused")
    method, rows = Pretrain(architecture=family, **FAST), text_rows()
    training = method.training(Job(unused, rows, rows[:3], tmp_path, max_steps=40))
    training.train()
    training.save_model(str(tmp_path / "model"))
    losses = [entry["loss"] for entry in training.state.log_history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    (before,), (after,) = (
        method.scores(unused, model, rows[:1])["log_likelihood"] for model in (None, tmp_path / "model")
    )
    assert before == -8 < -1 < after < 0, "bits per byte"

    base = Base("new", f"file:{tmp_path / 'model'}")
    assert base.family == family
    tuning = Sft(batch_size=3, learning_rate=5e-3, warmup=0.0, epochs=60, save_steps=999)
    tuned = tuning.training(Job(base, chat_rows(), [], tmp_path / "tuned", max_steps=60))
    tuned.train()
    tuned.save_model(str(tmp_path / "served"))
    engine = NativeEngine(f"file:{tmp_path / 'served'}", mode="exact", threads=1)
    try:
        chat = LocalChatModel(model="new", engine=engine, max_tokens=30)
        served = {question: chat.invoke([HumanMessage(question)]).text for question in FACTS}
    finally:
        engine.close()
    model = load(base, tmp_path / "served")
    trained = {question: answer(base, model, question) for question in FACTS}
    assert served == {
        question: base.tokenizer.decode(ids, skip_special_tokens=True) for question, ids in trained.items()
    }
    assert served.items() & FACTS.items()


def test_a_training_that_goes_on_has_the_same_tokenizer_and_ends_the_same(tmp_path: Path) -> None:
    method = Pretrain(architecture="llama", **FAST | {"save_steps": 2})
    ends = []
    for name, stops in (("whole", [4]), ("broken", [2, 4])):
        for steps in stops:
            # The schedule is that of four steps in both.
            job = Job(tiny_base("llama", tmp_path / name), text_rows(), [], tmp_path / name, max_steps=4)
            training: Any = method.training(job)
            if steps == 2:
                training.args.max_steps = 4
                training.add_callback(_StopAt(2))
            resumed = tmp_path / name / "checkpoints/checkpoint-2"
            training.train(str(resumed) if stops == [2, 4] and steps == 4 else None)
        ends.append({key: each.clone() for key, each in training.model.state_dict().items()})
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def _StopAt(step: int) -> Any:  # noqa: N802 -- makes a callback
    from transformers import TrainerCallback

    class StopAt(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= step

    return StopAt()


@given(st.text())
def test_the_tokenizer_gives_any_text_back(text: str) -> None:
    tokenizer = TOKENIZER.setdefault("made", trained_tokenizer(SENTENCES, 300))
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


TOKENIZER: dict[str, Any] = {}


def test_texts_follow_one_another_each_behind_a_start() -> None:
    tokenizer = trained_tokenizer(SENTENCES, 300)
    start = tokenizer.convert_tokens_to_ids(START)
    a, b = (tokenizer(text).input_ids for text in SENTENCES[:2])
    stream = [start, *a, start, *b]
    found = packed(tokenizer, SENTENCES[:2], 5)
    assert found.shape == (len(stream) // 5, 5)
    assert found.flatten().tolist() == stream[: len(stream) // 5 * 5]
    assert tokenizer.eos_token == END


def test_bits_per_byte_of_a_model_that_knows_nothing_are_those_of_a_fair_die() -> None:
    tokenizer = trained_tokenizer(SENTENCES, 300)

    class Fair:
        device = "cpu"

        def __call__(self, input_ids: torch.Tensor) -> Any:
            return type("Output", (), {"logits": torch.zeros(*input_ids.shape, 512)})

    text = "Payments é"
    ids = tokenizer(text).input_ids
    assert bits_per_byte(Fair(), tokenizer, text, 4) == pytest.approx(-9 * len(ids) / len(text.encode()))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"architecture": "rwkv"}, r"method.architecture is 'rwkv'. Allowed: llama, mamba, mamba2"),
        ({"sizes": {"state_sise": 1}}, "method.sizes has state_sise. Allowed for mamba2: .*state_size"),
        ({"sizes": {"num_heads": 7}}, "These sizes make no mamba2: .*Correct method.sizes"),
        ({"context": 100_000}, "are shorter than one sequence of 100000 tokens"),
    ],
)
def test_what_can_not_be_made_is_refused(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    job = Job(Base("unused", "file:nowhere"), text_rows(), [], tmp_path)
    with pytest.raises(ConfigError, match=told):
        Pretrain(**FAST | settings).training(job)


def test_adapters_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.lora"):
        Pretrain(lora=Lora())
