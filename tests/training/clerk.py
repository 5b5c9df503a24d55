"""A tiny model that says when things are due, not how long they are lent, over documents that say both."""

import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from markgraph.retrieval.types import Chunk
from markgraph.training.base import Base
from markgraph.training.data.prompts import Prompts
from markgraph.training.rows import Row
from markgraph.training.sft import Sft
from tests.training.facts import job, tiny_base

SYLLABLES = "ka do mi re su to ne li".split()
TERMS = ("week", "month")
ASKED_WITH = "graph.generate.instructions=Answer."


class Thing(NamedTuple):
    """Something that a document of its own is about."""

    name: str
    term: str

    @property
    def text(self) -> str:
        return f"The {self.name} is due in a {self.term}. It is lent for a {self.term}."

    @property
    def known(self) -> tuple[str, str]:
        """A question of the kind that the model has learned, and its answer."""
        return f"When is the {self.name} due?", f"It is due in a {self.term}."

    @property
    def gap(self) -> tuple[str, str]:
        """A question of the kind that it has not, and its answer."""
        return f"How long is the {self.name} lent?", f"It is lent for a {self.term}."


def things(count: int) -> list[Thing]:
    """Return things whose names tell nothing of what is true of them: that has to be read."""
    drawn = random.Random(0)
    made = [f"{a}{b}{c}n" for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]
    return [Thing(name, drawn.choice(TERMS)) for name in drawn.sample(made, count)]


def rows(some: Sequence[Thing], *kinds: str) -> list[Row]:
    """Return what the graph asks of these things, with the passage that answers it, and the right answer."""
    prompts, made = Prompts([ASKED_WITH]), []
    for thing in some:
        file, text = f"{thing.name}.md", thing.text
        passage = Chunk(text, file, thing.name, 0, len(text), readers=("public",))
        for question, answer in (getattr(thing, kind) for kind in kinds):
            row = Row(
                id=sha256(question.encode()).hexdigest(),
                source="judged",
                documents=[file],
                readers=["public"],
                messages=prompts(question, [passage]),
                completion=f"{answer} [1]",
            )
            made.append(row)
    return made


def clerk(folder: Path, learned: Sequence[Thing]) -> str:
    """Train a tiny Llama to say when things are due, and return the reference to it."""
    method = Sft(batch_size=16, learning_rate=0.005, warmup=0.05, log_steps=50, save_steps=1000)
    base: Base = tiny_base("llama", folder)
    training = method.training(job(base, rows(learned, "known"), folder, 120))
    training.train()
    training.save_model(str(folder / "model"))
    return f"file:{folder / 'model'}"
