"""Proximal policy optimisation of an adapter against a reward; it reads from top to bottom.

    Schulman et al. 2017, Proximal policy optimization algorithms
    Ziegler et al. 2019, Fine-tuning language models from human preferences

A step: the policy answers prompts, a judge says what the answers are worth, and the adapter and a value head
learn from that in a few passes. The adapter switched off is the reference rho, which answers may not stray
far from. The arithmetic is in ppo_loss.py.

Does NOT include: a value model of its own, quantised bases, rewards before an answer's end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DefaultFlowCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import CallbackHandler

from markgraph.training.allowed import a_part, at_least, more_than
from markgraph.training.base import Base
from markgraph.training.extra import peft
from markgraph.training.lora import Lora
from markgraph.training.port import Each, Job, OverBase, Scores, Training, every_row
from markgraph.training.ppo_checkpoint import Checkpoints
from markgraph.training.ppo_loss import (
    Penalty,
    advantages_and_returns,
    kl_divergence,
    log_probabilities,
    penalized_rewards,
    policy_loss,
    value_loss,
    whitened,
)
from markgraph.training.render import prompt_ids
from markgraph.training.reward_model import RewardModel
from markgraph.training.rewards import Judge, Rewards
from markgraph.training.rows import Kind, Row
from markgraph.training.samples import Samples, judged, said_logits, sample
from markgraph.training.trainer import save


@dataclass(frozen=True, kw_only=True)
class Ppo(OverBase):
    """Learns to say what is worth most."""

    name: str = "ppo"
    kind: Kind = "task"
    metric: str = "reward"

    rewards: Judge = field(default_factory=Rewards)
    """Reward functions with weights."""
    reward: str | None = None
    """A model that method=reward trained, in their place: its folder, or a reference."""
    lora: Lora = field(default_factory=Lora)
    epochs: float = 1.0
    batch_size: int = 16
    """Prompts of a step on each device."""
    minibatch_size: int = 8
    passes: int = 4
    """How often each answer is learned from."""
    learning_rate: float = 1e-4
    max_new_tokens: int = 48
    temperature: float = 1.0
    gamma: float = 1.0
    lam: float = 0.95
    """Lambda of generalized advantage estimation."""
    epsilon: float = 0.2
    """How far a pass may move the ratio of probabilities, and the values."""
    value_weight: float = 0.1
    penalty: Penalty = field(default_factory=Penalty)
    unfinished: float = 0.0
    """What is taken from the score of an answer that has no end within max_new_tokens."""
    max_grad_norm: float = 1.0
    save_steps: int = 10
    keep: int = 2

    def __post_init__(self) -> None:
        at_least(self, 1, "batch_size", "minibatch_size", "passes", "max_new_tokens", "save_steps", "keep")
        more_than(self, 0, "epochs", "learning_rate", "temperature", "epsilon", "max_grad_norm")
        at_least(self, 0, "value_weight")
        a_part(self, "gamma", "lam")

    def training(self, job: Job) -> Training:
        """Return the training; one of its steps is one batch of answers and all that is learned from them."""
        return PpoTraining(self, job)

    def scores(self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row) -> Scores:
        """Return what the likeliest answers are worth, in all and by part, and how near they stay."""
        return judged(self.judge(base), base, model, rows, self.max_new_tokens, each)

    def judge(self, base: Base) -> Judge:
        """Return what says what answers are worth."""
        return RewardModel(self.reward, base.template_values) if self.reward else self.rewards


class ActorCritic(torch.nn.Module):
    """A policy, and on its last hidden state the value of what has been said so far."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy
        self.value = torch.nn.Linear(policy.config.hidden_size, 1)
        torch.nn.init.zeros_(self.value.weight)  # nothing is known yet of what answers are worth
        torch.nn.init.zeros_(self.value.bias)

    def forward(self, samples: Samples, temperature: float) -> tuple[Tensor, Tensor]:
        """Return log pi of each token, and the value before it, both (b, t)."""
        t = samples.answer.shape[1]
        out = self.policy(
            input_ids=samples.ids,
            attention_mask=samples.attention,
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=t + 1,
        )
        before = out.hidden_states[-1][:, -t - 1 : -1]  # (b, t, d)
        return log_probabilities(out.logits[:, :-1], samples.answer, temperature), self.value(before)[..., 0]


class Rollout(NamedTuple):
    """Answers, and what was thought of them when they were given: log pi, log rho and values, (b, t) each."""

    samples: Samples
    logps: Tensor
    reference: Tensor
    values: Tensor
    worth: Scores


class PpoTraining:
    """The loop: answer, judge, learn, log, save."""

    def __init__(self, method: Ppo, job: Job) -> None:
        from accelerate import Accelerator  # type: ignore[import-untyped]

        self.method, self.job, self.judge = method, job, method.judge(job.base)
        self.args = _arguments(method, job)
        torch.manual_seed(job.seed)
        policy = peft().get_peft_model(job.base.causal(), method.lora.config(job.base.family))
        learned = ActorCritic(policy)
        self.accelerator = Accelerator(cpu=self.args.use_cpu)
        optimizer = torch.optim.AdamW(
            [each for each in learned.parameters() if each.requires_grad],
            lr=method.learning_rate,
            weight_decay=0.0,
        )
        self.model, self.optimizer = self.accelerator.prepare(learned, optimizer)
        self.beta = method.penalty.beta
        self.state, self.control = self._state(), TrainerControl()
        report: Any = get_reporting_integration_callbacks
        called: Any = CallbackHandler
        every = [DefaultFlowCallback, *report(list(job.reporters)), *job.callbacks]
        self.callbacks = called(every, policy, job.base.tokenizer, optimizer, None)

    def train(self, resume_from_checkpoint: str | None = None) -> TrainerState:
        """Take all steps, or those that are left; what they do depends on nothing but seed and number."""
        if resume_from_checkpoint:
            self.state, self.beta = self._kept.read(Path(resume_from_checkpoint), self.state)
        self.control = self.callbacks.on_train_begin(self.args, self.state, self.control)
        self.control.should_training_stop |= self.state.global_step >= self.state.max_steps
        while not self.control.should_training_stop:
            self.control = self.callbacks.on_step_begin(self.args, self.state, self.control)
            torch.manual_seed(self._seed())
            rollout = self._roll_out(self._rows())
            measures = self._learn(rollout)
            self._step_done(measures)
        self.control = self.callbacks.on_train_end(self.args, self.state, self.control)
        return self.state

    def save_model(self, output_dir: str) -> None:
        """Write the adapter; the value head has done its work."""
        if self.accelerator.is_main_process:
            save(self._whole.policy, self.job.base, Path(output_dir), self.method.lora.kept)

    @property
    def _kept(self) -> Checkpoints:
        folder = Path(str(self.args.output_dir))
        return Checkpoints(folder, self.method.keep, self._whole, self.optimizer, self.job.base)

    @property
    def _whole(self) -> ActorCritic:
        """The model without what spreads it over devices."""
        return self.accelerator.unwrap_model(self.model)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _roll_out(self, rows: Sequence[Row]) -> Rollout:
        """Answer the prompts of `rows`, and have the answers judged."""
        whole, base, temperature = self._whole.eval(), self.job.base, self.method.temperature
        prompts = [prompt_ids(base, row["messages"]) for row in rows]
        samples = sample(whole.policy, base, prompts, self.method.max_new_tokens, temperature)
        logps, values = whole(samples, temperature)
        with whole.policy.disable_adapter():
            reference = log_probabilities(said_logits(whole.policy, samples), samples.answer, temperature)
        worth = self.judge(samples.texts(base.tokenizer), rows)
        return Rollout(samples, logps, reference, values, worth)

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        """Improve policy and values in a few passes over the answers; return what there is to log."""
        mask, method = rollout.samples.mask, self.method
        scores = torch.tensor(rollout.worth["reward"], device=mask.device)
        scores = scores - method.unfinished * ~rollout.samples.ended(self.job.base.ends)
        log_ratio = rollout.logps - rollout.reference
        rewards = penalized_rewards(scores, log_ratio, mask, self.beta)
        advantages, returns = advantages_and_returns(rewards, rollout.values, mask, method.gamma, method.lam)
        advantages = whitened(advantages, mask)
        self.model.train()
        losses = []
        for _ in range(method.passes):
            for part in torch.split(torch.randperm(len(mask)), method.minibatch_size):
                new, value = self.model(rollout.samples.rows(part), method.temperature)
                policy = policy_loss(new, rollout.logps[part], advantages[part], mask[part], method.epsilon)
                worth = value_loss(value, rollout.values[part], returns[part], mask[part], method.epsilon)
                loss = policy + method.value_weight * worth
                self._descend(loss)
                losses.append(torch.stack([loss.detach(), policy.detach(), worth.detach()]))
        kl = kl_divergence(log_ratio, mask).mean()
        made = [kl, mask.sum(1).mean(), *torch.stack(losses).mean(0)]
        made += [torch.tensor(part, device=mask.device).mean() for part in rollout.worth.values()]
        names = ["kl", "length", "loss", "policy_loss", "value_loss", *rollout.worth]
        means = self.accelerator.reduce(torch.stack(made), "mean").tolist()
        return dict(zip(names, means, strict=True))

    def _descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.method.max_grad_norm)
        self.optimizer.step()

    def _step_done(self, measures: dict[str, float]) -> None:
        """Count the step, move beta, log, and save where that is due."""
        measures |= {"beta": self.beta, "learning_rate": self.method.learning_rate}
        self.beta = self.method.penalty.after(self.beta, measures["kl"])
        state = self.state
        state.global_step += 1
        state.epoch = state.global_step * self._prompts / len(self.job.rows)
        self.control = self.callbacks.on_step_end(self.args, state, self.control)
        if self.control.should_log:
            state.log_history.append(measures | {"step": state.global_step, "epoch": state.epoch})
            self.control = self.callbacks.on_log(self.args, state, self.control, measures)
        if self.control.should_save:
            if self.accelerator.is_main_process:
                self._kept.write(self.state, self.beta)
            self.accelerator.wait_for_everyone()
            self.control = self.callbacks.on_save(self.args, state, self.control)

    @property
    def _prompts(self) -> int:
        """How many prompts all devices together answer in a step."""
        return self.method.batch_size * int(self.accelerator.num_processes)

    def _rows(self) -> list[Row]:
        """Return this device's rows of the coming step; each epoch has an order of its own."""
        begin = self.state.global_step * self._prompts
        begin += self.method.batch_size * int(self.accelerator.process_index)
        found = []
        for place in range(begin, begin + self.method.batch_size):
            epoch, at = divmod(place, len(self.job.rows))
            order = torch.Generator().manual_seed(self.job.seed + epoch)
            found.append(self.job.rows[int(torch.randperm(len(self.job.rows), generator=order)[at])])
        return found

    def _seed(self) -> int:
        """Return what the coming step draws by: nothing of chance has to be kept for a resumption."""
        step = self.state.global_step * int(self.accelerator.num_processes)
        return (self.job.seed << 32) + step + int(self.accelerator.process_index)

    def _state(self) -> TrainerState:
        steps = -(-self.method.epochs * len(self.job.rows) // self._prompts)
        return TrainerState(
            max_steps=self.job.max_steps or max(1, int(steps)),
            num_train_epochs=math.ceil(self.method.epochs),
            logging_steps=1,
            save_steps=self.method.save_steps,
            is_local_process_zero=self.accelerator.is_local_main_process,
            is_world_process_zero=self.accelerator.is_main_process,
        )


def _arguments(method: Ppo, job: Job) -> TrainingArguments:
    """Return what callbacks of transformers want to know."""
    return TrainingArguments(
        output_dir=str(job.folder / "checkpoints"),
        seed=job.seed,
        learning_rate=method.learning_rate,
        per_device_train_batch_size=method.batch_size,
        logging_steps=1,
        save_steps=method.save_steps,
        save_total_limit=method.keep,
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
    )
