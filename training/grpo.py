"""Group relative policy optimisation (Shao et al. 2024) against reward functions, on TRL's GRPOTrainer.

Several answers to one prompt are drawn; what an answer is worth above the others of its group, divided by
their spread, is the advantage of each of its tokens. The prompts are the ids that serving makes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markgraph.errors import ConfigError
from markgraph.training.allowed import at_least, more_than
from markgraph.training.base import Base
from markgraph.training.extra import dataset, trl
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.render import prompt_ids
from markgraph.training.rewards import Rewards
from markgraph.training.rows import Kind, Row
from markgraph.training.samples import judged
from markgraph.training.settings import Settings, arguments
from markgraph.training.trainer import start, trainer


@dataclass(frozen=True, kw_only=True)
class Grpo(Settings):
    """Learns to say what is worth more than its other answers."""

    name: str = "grpo"
    kind: Kind = "task"
    metric: str = "reward"
    rewards: Rewards = field(default_factory=Rewards)
    group: int = 8
    """Answers to each prompt."""
    reuse: int = 1
    """How often each answer is learned from."""
    beta: float = 0.0
    """What straying from the base costs; 0 keeps no reference."""
    epsilon: float = 0.2
    """How far the ratio of probabilities may move, where answers are reused."""
    max_new_tokens: int = 48
    temperature: float = 1.0
    batch_size: int = 16
    """Answers of a step on each device."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "reuse", "max_new_tokens")
        at_least(self, 0, "beta")
        more_than(self, 0, "epsilon", "temperature")
        if self.group < 2 or self.batch_size * self.accumulation % self.group:
            raise ConfigError(
                f"method.group is {self.group}, of {self.batch_size * self.accumulation} answers in a step. "
                "Allowed: 2 or more, as a divisor of method.batch_size times method.accumulation."
            )

    def training(self, job: Job) -> Training:
        """Return TRL's trainer; its prompts are ids already."""
        package = trl()
        model = start(self, job.base)
        # TRL ends answers where this says.
        model.generation_config.eos_token_id = sorted(job.base.ends)
        settings = package.GRPOConfig(
            **dict(arguments(self, job))
            | {"eval_strategy": "steps" if job.held and self.eval_steps else "no"},
            num_generations=self.group,
            num_iterations=self.reuse,
            beta=self.beta,
            epsilon=self.epsilon,
            max_completion_length=self.max_new_tokens,
            temperature=self.temperature,
            reward_weights=[self.rewards.weights[name] for name in self.rewards.used],
        )
        rows = {row["id"]: row for row in (*job.rows, *job.held)}
        made: Training = trainer(
            package.GRPOTrainer,
            job,
            _rendered(job.base, rows),
            model=model,
            reward_funcs=[_function(self.rewards, name, rows) for name in self.rewards.used],
            args=settings,
            train_dataset=_prompts(job.rows),
            eval_dataset=_prompts(job.held) if job.held else None,
            lora=self.lora,
        )
        return made

    def scores(self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row) -> Scores:
        """Return what the likeliest answers are worth, in all and by part, and how near they stay."""
        return judged(self.rewards, base, model, rows, self.max_new_tokens, each)


def _prompts(rows: Sequence[Row]) -> Any:
    """Return the rows as TRL takes them, each by its id alone."""
    return dataset([{"prompt": row["id"]} for row in rows])


def _rendered(base: Base, rows: dict[str, Row]) -> type:
    """Return the part of a trainer that makes ids of prompts: those of serving, not TRL's own."""

    class Rendered:
        def _tokenize_prompts(self, prompts: Sequence[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return [prompt_ids(base, rows[each]["messages"]) for each in prompts], None, {}

    return Rendered


def _function(rewards: Rewards, name: str, rows: dict[str, Row]) -> Callable[..., list[float]]:
    """Return one reward as TRL calls it."""

    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
        told = zip(prompts, completions, strict=True)
        return [rewards.part(name, completion.strip(), rows[prompt]) for prompt, completion in told]

    reward.__name__ = name
    return reward
