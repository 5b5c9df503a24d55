"""Measures what MARK adds to a training: steps a second, and the losses, beside a bare script of TRL's.

    python benchmarks/training.py                               SmolLM2-135M, 6 steps, 5 rounds
    python benchmarks/training.py --source file:FOLDER --steps 20 --rounds 9

Both train the same rows with the same settings in turns, so that a busy machine is busy for both. Ours writes
its log, tells its progress, and tells MLflow; neither writes a checkpoint. The time is that from the first
step to the end of the last. Exit code 1 where a loss differs, or ours is slower than 0.95 of the other.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]  # exported lazily

from markgraph.build import compose
from markgraph.training.base import Base
from markgraph.training.follow import Follow
from markgraph.training.lora import Lora
from markgraph.training.mlflow import Mlflow
from markgraph.training.port import Job
from markgraph.training.render import tokens
from markgraph.training.rows import Row
from markgraph.training.sft import Sft

LEAST = 0.95
BATCH, SEED = 4, 5
Ran = tuple[float, list[float]]
"""Steps a second, and the loss of each step."""


class Clock(TrainerCallback):
    """Takes the time from the first step to the end of the last."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Begin."""
        self.began = perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Stop."""
        self.ended = perf_counter()


def rows(count: int) -> list[Row]:
    """Return rows of about a hundred tokens."""
    made = []
    for number in range(count):
        text = f"Clause {number} says that invoice {number} is due within {number % 60} days of receipt. " * 3
        row = Row(
            id=sha256(text.encode()).hexdigest(), source="bench", documents=[str(number)], readers=["public"]
        )
        row["messages"] = [{"role": "user", "content": f"{text}\nWhen is invoice {number} due?"}]
        row["completion"] = f"Invoice {number} is due within {number % 60} days of its receipt [1]."
        made.append(row)
    return made


def ours(base: Base, some: Sequence[Row], steps: int, folder: Path) -> Ran:
    """Train as the training graph does."""
    clock = Clock()
    tracking = Mlflow(f"sqlite:///{folder.parent}/mlflow.db").run(folder.name, {"steps": steps}, {})
    follow = Follow("train", folder / "log.jsonl", lambda _: None, tracking)
    set_seed(SEED)
    method = Sft(lora=Lora(r=8), batch_size=BATCH, save_steps=10**6)
    training = method.training(Job(base, some, [], folder, SEED, steps, callbacks=[clock, follow]))
    return timed(training, clock, steps)


def bare(base: Base, some: Sequence[Row], steps: int, folder: Path) -> Ran:
    """Train as a script of TRL's does."""
    made = [tokens(base, row, row["completion"]) for row in some]
    masked = [
        {"input_ids": one.ids, "completion_mask": [0] * len(one.prompt) + [1] * len(one.completion)}
        for one in made
    ]
    clock = Clock()
    set_seed(SEED)
    settings: dict[str, Any] = {
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "learning_rate": 2e-4,
        "bf16": False,
    }
    settings |= {
        "logging_steps": 1,
        "save_steps": 10**6,
        "report_to": "none",
        "activation_checkpointing": False,
    }
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(
            base.folder, dtype="float32", local_files_only=True, trust_remote_code=False
        ),
        args=SFTConfig(
            str(folder),
            seed=SEED,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            completion_only_loss=True,
            disable_tqdm=True,
            **settings,
        ),
        train_dataset=Dataset.from_list(masked),
        processing_class=base.tokenizer,
        peft_config=Lora(r=8).config(base.family),
        callbacks=[clock],
    )
    return timed(trainer, clock, steps)


def timed(training: Any, clock: Clock, steps: int) -> Ran:
    """Train, and return the speed and the losses."""
    training.train()
    losses = [entry["loss"] for entry in training.state.log_history if "loss" in entry]
    return steps / (clock.ended - clock.began), losses


def main() -> int:
    """Measure, print, and say whether the bounds hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", help="the model; SmolLM2-135M without it")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    base = Base("bench", given.source) if given.source else Base.of(compose("train").model)
    some = rows(BATCH * given.steps)
    ways: dict[str, Callable[..., Ran]] = {"ours": ours, "bare": bare}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for turn in range(given.rounds):
            order = list(ways) if turn % 2 else list(reversed(ways))
            for name in order:
                speed, losses[name] = ways[name](base, some, given.steps, Path(place, f"{name}-{turn}"))
                speeds[name].append(speed)
                print(
                    f"round {turn + 1}: {name} {speed:.3f} steps/s, last loss {losses[name][-1]:.6f}",
                    flush=True,
                )
    ratio = median(one / other for one, other in zip(speeds["ours"], speeds["bare"], strict=True))
    apart = max(abs(one - other) for one, other in zip(losses["ours"], losses["bare"], strict=True))
    medians = ", ".join(f"{name} {median(each):.3f} steps/s" for name, each in speeds.items())
    print(f"{medians}; median ratio {ratio:.3f} (at least {LEAST}); losses differ by at most {apart:.1e}")
    return 0 if ratio >= LEAST and apart < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
