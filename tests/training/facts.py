"""A few planted facts, as rows of each kind, for models of a few thousand random weights."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from markgraph.training.base import Base
from markgraph.training.port import Job
from markgraph.training.render import prompt_ids
from markgraph.training.rows import Message, Row
from tests.engines.tiny import tiny_llama, tiny_mamba, tiny_mamba2

FAMILIES: dict[str, Callable[[Path], str]] = {
    "llama": tiny_llama,
    "mamba": tiny_mamba,
    "mamba2": tiny_mamba2,
}
FACTS = {"Who pays?": "the user", "Who is asked?": "the assistant", "What deadline?": "notices"}


def tiny_base(family: str, folder: Path) -> Base:
    """Return a random model of that family, saved in `folder`, which can say and end anything."""
    base = Base(family, FAMILIES[family](folder / family, initializer_range=0.1))
    model = base.causal()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        model.lm_head.weight.normal_()  # those of the engines' tests never end an answer
    model.save_pretrained(base.folder)
    return base


def job(base: Base, rows: list[Row], folder: Path, max_steps: int, **changes: Any) -> Job:
    """Return a job of so many steps."""
    return replace(Job(base, rows, [], folder, max_steps=max_steps), **changes)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below `folder`."""
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def row(question: str) -> Row:
    messages: list[Message] = [{"role": "user", "content": question}]
    id_ = sha256(question.encode()).hexdigest()
    return Row(id=id_, source="facts", documents=["facts.txt"], readers=["public"], messages=messages)


def chat_rows() -> list[Row]:
    """Return what to say to each question."""
    return [row(question) | Row(completion=answer) for question, answer in FACTS.items()]  # type: ignore[typeddict-item]


def answer(base: Base, model: Any, question: str) -> list[int]:
    """Return what a model says to a question, greedily, up to and with the end of its turn."""
    prompt = torch.tensor([prompt_ids(base, row(question)["messages"])])
    said = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=30,
        do_sample=False,
        eos_token_id=sorted(base.ends),
        pad_token_id=0,
    )
    ids: list[int] = said[0, prompt.shape[1] :].tolist()
    return ids


def pair_rows() -> list[Row]:
    """Return the right answer to each question, and a rude one."""
    return [
        row(question) | Row(chosen=right, rejected="go away")  # type: ignore[typeddict-item]
        for question, right in FACTS.items()
    ]


def rated_rows() -> list[Row]:
    """Return the right answers as liked, and the wrong ones as disliked."""
    return [
        row(question) | Row(completion=answer, good=good)  # type: ignore[typeddict-item]
        for pair, question in zip(pair_rows(), FACTS, strict=True)
        for answer, good in ((pair["chosen"], True), (pair["rejected"], False))
    ]
