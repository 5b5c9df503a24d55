"""What is around TRL's trainers changes nothing of what they compute."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from markgraph.training.lora import Lora
from markgraph.training.render import tokens
from markgraph.training.rows import Row
from markgraph.training.sft import Sft
from tests.training.facts import chat_rows, job, tiny_base

STEPS = 6


def losses(training: Any) -> list[float]:
    """Train, and return the loss of each step."""
    training.train()
    return [entry["loss"] for entry in training.state.log_history if "loss" in entry]


def test_the_losses_are_those_of_a_bare_script(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    lora = Lora(r=4)
    method = Sft(lora=lora, batch_size=2, learning_rate=0.01, epochs=STEPS)
    ours = losses(method.training(job(base, chat_rows(), tmp_path / "ours", STEPS, seed=5)))

    made = [tokens(base, row, row["completion"]) for row in chat_rows()]
    masked = [
        {"input_ids": one.ids, "completion_mask": [0] * len(one.prompt) + [1] * len(one.completion)}
        for one in made
    ]
    bare = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32),
        args=SFTConfig(
            str(tmp_path / "bare"),
            seed=5,
            max_steps=STEPS,
            per_device_train_batch_size=2,
            learning_rate=0.01,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            logging_steps=1,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            activation_checkpointing=False,
            report_to="none",
            completion_only_loss=True,
        ),
        train_dataset=Dataset.from_list(masked),
        processing_class=base.tokenizer,
        peft_config=lora.config(base.family),
    )
    assert ours == losses(bare)


@pytest.mark.parametrize("family", ["llama", "mamba2"])
def test_activations_computed_again_are_the_same(family: str, tmp_path: Path) -> None:
    base = tiny_base(family, tmp_path)
    curves = [
        losses(
            Sft(lora=Lora(r=4), learning_rate=0.01, gradient_checkpointing=again, epochs=STEPS).training(
                job(base, chat_rows(), tmp_path / str(again), STEPS)
            )
        )
        for again in (False, True)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)


def test_nothing_is_sent_or_written_beside_the_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sent: list[str] = []
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *a, **_: sent.append(str(a)))
    base = tiny_base("llama", tmp_path)
    capfd.readouterr()
    training: Any = Sft(lora=Lora(r=4), save_steps=1, keep=1).training(job(base, chat_rows(), tmp_path, 2))
    training.train()
    assert sent == []
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-2"]
    assert "loss" not in capfd.readouterr().out


def test_rows_of_like_length_come_together(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    rows = [Row(**(row | {"completion": row["completion"] * n})) for n in (1, 9) for row in chat_rows()] * 6  # type: ignore[typeddict-item]

    def padding(**settings: Any) -> int:
        training: Any = Sft(lora=Lora(r=2), batch_size=3, **settings).training(job(base, rows, tmp_path, 1))
        return sum(int((batch["attention_mask"] == 0).sum()) for batch in training.get_train_dataloader())

    assert padding(group_by_length=True) < padding() / 2


def test_held_back_rows_are_followed_and_not_learned(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    rows = chat_rows()
    training = Sft(lora=Lora(r=4), eval_steps=2, epochs=STEPS).training(
        job(base, rows[:2], tmp_path, 4, held=rows[2:])
    )
    training.train()
    followed = [entry["eval_loss"] for entry in training.state.log_history if "eval_loss" in entry]
    assert len(followed) == 2
    scored = Sft().scores(base, None, rows[2:])
    assert followed[0] == pytest.approx(-scored["completion_logp"][0], rel=0.2)
