"""Says what PPO and GRPO reach on a task that can be checked: a rule that only rewards teach.

    python benchmarks/reinforce.py [grpo|ppo] [STEPS]

A Llama of 50,000 random weights is tuned to say "yes" or "no", either at random. Then it is rewarded where it
says "yes" to what costs money, and "no" to what doesn't. Printed are the reward in the first and the last
steps, the share of right answers to held-back questions before and after, with its interval, and how far from
the tuned model that is.
"""

import random
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from markgraph.evaluation.intervals import interval_of
from markgraph.training.base import Base
from markgraph.training.grpo import Grpo
from markgraph.training.lora import Lora
from markgraph.training.port import Job
from markgraph.training.ppo import Ppo
from markgraph.training.ppo_loss import Penalty
from markgraph.training.rewards import Rewards
from markgraph.training.rows import Row
from markgraph.training.sft import Sft
from tests.training.facts import tiny_base

COSTS, FREE = ("invoice", "payment", "fee", "rent"), ("parcel", "letter", "visit", "call")
WHEN, WHO = (
    ("today", "soon", "now", "later", "at once"),
    ("user", "controller", "assistant", "party", "reader"),
)


def questions() -> list[Row]:
    """Return all questions with their right answers, in an order of chance."""
    rows = []
    for thing in COSTS + FREE:
        for when in WHEN:
            for who in WHO:
                text = f"Does the {who} get the {thing} {when}?"
                right = "yes" if thing in COSTS else "no"
                row = Row(id=text, source="benchmark", documents=[], readers=["public"], reference=[right])
                rows.append(row | Row(messages=[{"role": "user", "content": text}]))  # type: ignore[typeddict-item]
    random.Random(0).shuffle(rows)  # noqa: S311 -- no secret
    return rows


def tuned(folder: Path, rows: list[Row]) -> Base:
    """Return a model that says yes or no, and doesn't know when."""
    base = tiny_base("llama", folder)
    draw = random.Random(1)  # noqa: S311 -- no secret
    said = [row | Row(completion=draw.choice(["yes", "no"])) for row in rows]  # type: ignore[typeddict-item]
    method = Sft(batch_size=16, learning_rate=1e-2, warmup=0.0, epochs=14, save_steps=9999)
    training = method.training(Job(base, said, [], folder / "tuning"))
    training.train()
    training.save_model(str(folder / "tuned"))
    return Base("tuned", f"file:{folder / 'tuned'}")


METHODS: dict[str, Any] = {
    "grpo": Grpo(rewards=Rewards({"exact": 1.0}), lora=Lora(r=8), group=8, batch_size=64, schedule="constant",
                 learning_rate=2e-3, max_new_tokens=4, save_steps=9999),
    "ppo": Ppo(rewards=Rewards({"exact": 1.0}), lora=Lora(r=8), batch_size=64, minibatch_size=32,
               learning_rate=1e-3, max_new_tokens=4, penalty=Penalty(beta=0.01), save_steps=9999),
}  # fmt: skip


def main(name: str = "grpo", steps: str = "60") -> None:
    """Train, and print what came of it."""
    rows = questions()
    learned, held = rows[:140], rows[140:]
    with tempfile.TemporaryDirectory() as place:
        folder, method = Path(place), METHODS[name]
        base = tuned(folder, learned)
        began = perf_counter()
        training = method.training(Job(base, learned, [], folder, max_steps=int(steps)))
        training.train()
        seconds = perf_counter() - began
        training.save_model(str(folder / "model"))
        old, new = (method.scores(base, model, held) for model in (None, folder / "model"))
    told = [entry["reward"] for entry in training.state.log_history if "reward" in entry]
    first, last = sum(told[:5]) / 5, sum(told[-5:]) / 5
    gain = interval_of([after - before for before, after in zip(old["exact"], new["exact"], strict=True)])
    print(f"{name}: {len(told)} steps in {seconds:.0f} s; reward {first:.2f} -> {last:.2f}")
    print(f"{len(held)} held back: right {mean(old['exact']):.2f} -> {mean(new['exact']):.2f}")
    print(f"gain {gain.mean:.2f} [{gain.low:.2f}, {gain.high:.2f}]; KL {-mean(new['nearness']):.2f} a token")


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main(*sys.argv[1:])
