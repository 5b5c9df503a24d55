"""PPO raises the reward of each family's adapter, tells the divergence, and goes on exactly where it was."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from markgraph.errors import ConfigError
from markgraph.training.classifier import reward_model
from markgraph.training.lora import Lora
from markgraph.training.port import Scores
from markgraph.training.ppo import Ppo, PpoTraining
from markgraph.training.ppo_loss import Penalty, log_probabilities
from markgraph.training.render import prompt_ids, tokens
from markgraph.training.reward import Reward, rewarded
from markgraph.training.rows import Row
from markgraph.training.samples import said_logits, sample, until_end
from markgraph.training.scoring import load
from tests.training.facts import FACTS, FAMILIES, digests, job, pair_rows, row, tiny_base


class Vowels:
    """Likes vowels: what random models can learn in a few steps."""

    def __call__(self, completions: Sequence[str], rows: Sequence[Row]) -> Scores:
        return {"reward": [sum(map(text.count, "aeiou")) / 8 for text in completions]}


FAST: dict[str, Any] = {
    "rewards": Vowels(),
    "lora": Lora(r=8),
    "batch_size": 16,
    "minibatch_size": 8,
    "learning_rate": 5e-4,
    "max_new_tokens": 12,
    "penalty": Penalty(beta=0.02),
}


def task_rows() -> list[Row]:
    return [row(question) | Row(reference=[right]) for question, right in FACTS.items()]  # type: ignore[typeddict-item]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reward_rises_and_the_divergence_is_told(family: str, tmp_path: Path) -> None:
    base = tiny_base(family, tmp_path)
    before = digests(base.folder)
    method = Ppo(**FAST)
    training = method.training(job(base, task_rows(), tmp_path, 20))
    training.train()
    training.save_model(str(tmp_path / "model"))

    log = training.state.log_history
    first, last = (sum(entry["reward"] for entry in part) / 3 for part in (log[:3], log[-3:]))
    assert last > 1.5 * first
    assert log[0]["kl"] == pytest.approx(0.0, abs=1e-3), "a new adapter adds nothing"
    assert log[-1]["kl"] > 0.5
    assert digests(base.folder) == before
    old, new = (method.scores(base, model, task_rows()) for model in (None, tmp_path / "model"))
    assert old["nearness"] == [0.0] * 3
    assert max(new["nearness"]) < 0
    assert sum(new["reward"]) > sum(old["reward"])


class BrokenOffError(Exception):
    """What a test breaks a training off with."""


class BreaksOff(Vowels):
    """Fails at a step, as a killed process does."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, completions: Sequence[str], rows: Sequence[Row]) -> Scores:
        self.left -= 1
        if self.left < 0:
            raise BrokenOffError
        return super().__call__(completions, rows)


def test_a_broken_off_training_resumes_to_the_very_same_adapter(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    settings = FAST | {"save_steps": 2, "penalty": Penalty(beta=0.1, target=2.0)}

    def made(folder: str, **changes: object) -> PpoTraining:
        return PpoTraining(Ppo(**settings | changes), job(base, task_rows(), tmp_path / folder, 6))

    whole = made("whole")
    whole.train()
    with pytest.raises(BrokenOffError):
        made("broken", rewards=BreaksOff(5)).train()
    kept = sorted(each.name for each in (tmp_path / "broken/checkpoints").iterdir())
    assert kept == ["checkpoint-2", "checkpoint-4"]
    resumed = made("broken")
    resumed.train(str(tmp_path / "broken/checkpoints/checkpoint-4"))

    assert resumed.state.log_history == whole.state.log_history
    assert resumed.beta == whole.beta != 0.1
    for name in ("adapter_model.safetensors", "rest.safetensors"):
        one, other = (
            load_file(tmp_path / each / "checkpoints/checkpoint-6" / name) for each in ("whole", "broken")
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert not (tmp_path / "broken/checkpoints/checkpoint-2").exists(), "two are kept"


def test_a_reward_model_that_was_trained_judges_in_place_of_functions(tmp_path: Path) -> None:
    base = tiny_base("mamba2", tmp_path)
    taught = Reward(lora=Lora(r=4), batch_size=3, learning_rate=1e-2, save_steps=999)
    teaching = taught.training(job(base, pair_rows(), tmp_path / "taught", 2))
    teaching.train()
    teaching.save_model(str(tmp_path / "judge"))

    method = Ppo(**FAST | {"reward": str(tmp_path / "judge")})
    said = ["the user", "go away", ""]
    model = reward_model(base, tmp_path / "judge")
    expected = [rewarded(model, tokens(base, row, text)) for row, text in zip(task_rows(), said, strict=True)]
    assert method.judge(base)(said, task_rows()) == {"reward": expected}
    assert len(set(expected)) == 3
    training = method.training(job(base, task_rows(), tmp_path, 1))
    training.train()
    assert -10 < training.state.log_history[0]["reward"] < 10


def test_a_high_penalty_keeps_the_policy_near_the_reference(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    ends = []
    for beta in (0.0, 2.0):
        method = Ppo(**FAST | {"penalty": Penalty(beta=beta)})
        training = method.training(job(base, task_rows(), tmp_path / str(beta), 7))
        training.train()
        ends.append(training.state.log_history[-1]["kl"])
    assert ends[1] < ends[0] / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_learned_from_has_the_probability_it_was_drawn_with(family: str, tmp_path: Path) -> None:
    base = tiny_base(family, tmp_path)
    model = load(base, None)
    prompts = [prompt_ids(base, each["messages"]) for each in task_rows()]
    assert len(set(map(len, prompts))) > 1, "padding has to be at work"
    torch.manual_seed(0)
    samples = sample(model, base, prompts, 12, 1.0)
    together = log_probabilities(said_logits(model, samples), samples.answer)
    for at, prompt in enumerate(prompts):
        kept = int(samples.mask[at].sum())
        ids = torch.tensor([[*prompt, *samples.answer[at, :kept].tolist()]])
        logits = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        alone = logits.gather(1, samples.answer[at, :kept, None])[:, 0]
        assert torch.allclose(alone, together[at, :kept], atol=1e-4)


def test_weights_that_are_no_numbers_have_no_reward(tmp_path: Path) -> None:
    base, rows = tiny_base("llama", tmp_path), task_rows()
    broken = base.causal()
    torch.nn.init.constant_(broken.lm_head.weight, math.nan)
    broken.save_pretrained(tmp_path / "broken")
    base.tokenizer.save_pretrained(tmp_path / "broken")
    scores = Ppo(**FAST).scores(base, tmp_path / "broken", rows)
    assert set(scores) == {"reward", "nearness"}
    assert all(math.isnan(value) for values in scores.values() for value in values)


def test_an_answer_ends_with_its_first_end() -> None:
    answer = torch.tensor([[5, 9, 9, 1], [9, 1, 2, 3], [1, 2, 3, 4]])
    assert until_end(answer, frozenset({9})).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]


def test_settings_that_can_not_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.passes is 0. Allowed: 1 or more"):
        Ppo(passes=0)
    with pytest.raises(ConfigError, match=r"method\.temperature"):
        Ppo(temperature=0.0)
