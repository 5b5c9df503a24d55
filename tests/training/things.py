"""A data set of things that must be returned after some days, which tests of data make rows of."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markgraph.models.embed import HashEmbeddings
from markgraph.security.caller import Caller
from markgraph.training.rows import Kind, Row

TINA = Caller("tina", ["trainer"])
EMBEDDER = HashEmbeddings()
THINGS = (
    "fridge lorry violin kettle saddle telescope blanket anchor candle hammer mirror ladder basket bottle "
    "trumpet compass lantern wagon barrel drum"
).split()
DAYS = {thing: 11 + at for at, thing in enumerate(THINGS)}
"""After how many days each thing is due back."""


def said_of(thing: str) -> str:
    return f"The {thing} must be returned within {DAYS[thing]} days. It is kept in the store for {thing}s."


def things(place: Path) -> Path:
    """Write a data set of a question for each thing into a new folder, and return it."""
    place.mkdir()
    write(place / "corpus.jsonl", [{"_id": thing, "title": "", "text": said_of(thing)} for thing in THINGS])
    asked = [
        {
            "_id": f"q-{thing}",
            "text": f"When must the {thing} be returned?",
            "answers": [f"{DAYS[thing]} days"],
        }
        for thing in THINGS
    ]
    write(place / "queries.jsonl", asked)
    (place / "qrels.tsv").write_text("".join(f"q-{thing}\t{thing}\t1\n" for thing in THINGS), "utf-8")
    return place


def write(file: Path, lines: Sequence[Any]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def rows_of(
    source: Any, kind: Kind = "chat", caller: Caller = TINA
) -> tuple[list[Row], list[tuple[str, ...]]]:
    left: list[tuple[str, ...]] = []
    return list(source.rows(kind, caller, lambda *each: left.append(each))), left
