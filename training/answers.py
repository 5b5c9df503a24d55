"""Lets what is in service and the candidate answer held-back rows as they would be served, and scores that.

groundedness    the part of an answer's claims that the row's passages support; of rows with passages
refusals        whether the answer refuses exactly where the row's own does
latency         minus the seconds until an answer as long as the row's own would be there

Does NOT include: models that nobody chats with; what a graph does around a model.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.messages import convert_to_messages

from markgraph.engines.fallback import FallbackEngine
from markgraph.engines.native.engine import NativeEngine
from markgraph.evaluation.answers import refusal
from markgraph.evaluation.comparison import MIN_ROWS
from markgraph.evaluation.scoring import groundedness
from markgraph.models.catalog import settings_of
from markgraph.models.chat import LocalChatModel
from markgraph.training.base import Base
from markgraph.training.pipeline import based_on
from markgraph.training.port import Each, Scores, every_row
from markgraph.training.rewards import passages_of
from markgraph.training.rows import Row
from markgraph.training.scoring import speaks
from markgraph.validation.features import Embed
from markgraph.validation.refusals import REFUSAL, is_refusal

GROUNDEDNESS, REFUSALS, LATENCY = MEASURED = ("groundedness", "refusals", "latency")
SECONDS = "seconds"
LONGEST = 2
"""What took longer than so many medians counts as that: something else had the machine."""
ROOM = 16
"""Tokens that an answer may have beyond twice its row's own: what rambles is cut there."""
Model = tuple[Base, Path | None]
"""A base, and what was trained over it."""


@dataclass(frozen=True)
class Answer:
    """What was said to a row."""

    text: str
    seconds: float
    """Until an answer as long as the row's own would be there: who says less is no faster, nor slower."""


def answer_scores(
    models: Mapping[str, Model],
    rows: Sequence[Row],
    most: int,
    embedder: Embeddings,
    settings: Mapping[str, Any],
    each: Each = every_row,
) -> dict[str, Scores]:
    """Return what the answers of each model are worth, row by row; nothing where that can't be told.

    The models take turns, so that a machine that is busy for a while is so for all of them.

    Args:
        models: by name.
        rows: of those that say what is right, some are answered; those with passages come first.
        most: how many.
        embedder: what the validator compares sentences with.
        settings: the model's config, as it is served with.
        each: goes through the rows.
    """
    chosen = _chosen(rows, most)
    if len(chosen) < MIN_ROWS or not all(speaks(trained or base.folder) for base, trained in models.values()):
        return {}
    are_shown = sum(bool(passages_of(row["messages"])) for row in chosen) >= MIN_ROWS
    compared = embedder.embed_documents if are_shown else None
    chats = {who: _chat(model, settings) for who, model in models.items()}
    turns = cycle((1, -1))  # each is the first half of the time: other work may have been done before
    try:
        found = each(lambda some: _measured(chats, some, compared, next(turns)), chosen)
    finally:
        for chat in chats.values():
            chat.engine.close()  # type: ignore[attr-defined]  # the port leaves this open
    return {who: _scores(found, who) for who in models}


def right_answers(row: Row) -> Sequence[str] | None:
    """Return what is right to say, nothing where it is right to refuse; None: the row does not tell."""
    if "messages" not in row or not row.get("good", True):
        return None
    if "reference" in row:
        return row["reference"]
    said = row.get("completion") or row.get("chosen")
    if said is None:
        return None
    return [] if is_refusal(said) else [said]


def _chosen(rows: Sequence[Row], most: int) -> list[Row]:
    """Return no more than `most` rows, from all over the data; those with passages come first."""
    known = [row for row in rows if right_answers(row) is not None]
    shown = [row for row in known if passages_of(row["messages"])]
    others = [row for row in known if not passages_of(row["messages"])]
    first = _spread(shown, most)
    return [*first, *_spread(others, most - len(first))]


def _spread(rows: Sequence[Row], most: int) -> Sequence[Row]:
    return [rows[at * len(rows) // most] for at in range(most)] if len(rows) > most else rows


def _chat(model: Model, settings: Mapping[str, Any]) -> LocalChatModel:
    """Return a chat model over the engine that serves, with the merged weights that it would serve."""
    base, trained = model
    folder = base.folder if trained is None else based_on(base, trained).folder
    mode = settings_of(settings).get("mode", "fast")
    # Like with like: all in the mode that was chosen, even where one of them would fail that mode's gate on
    # this machine, and without guesses, which change no answer, and save time where it repeats its prompt.
    native = partial(NativeEngine, mode=mode, gate=False, speculation="off")
    return LocalChatModel(
        engine=FallbackEngine(f"file:{folder}", native=native),
        stop=list(settings.get("stop") or []),
        template_values=dict(base.template_values),
    )


def _measured(
    chats: Mapping[str, LocalChatModel], rows: Sequence[Row], compared: Embed | None, order: int
) -> Scores:
    """Return what can be told of each answer by itself, under the model's name."""
    found: Scores = defaultdict(list)
    for row in rows:
        passages = passages_of(row["messages"])
        # All answer before any is looked at: that would be work of its own between them.
        for who, answer in [(who, _answer(chat, row)) for who, chat in list(chats.items())[::order]]:
            found[f"{who}/{REFUSALS}"].append(refusal(answer.text, right_answers(row) or []))
            found[f"{who}/{SECONDS}"].append(answer.seconds)
            if compared and passages:
                found[f"{who}/{GROUNDEDNESS}"].append(groundedness(answer.text, passages, compared))
    return found


def _answer(chat: LocalChatModel, row: Row) -> Answer:
    expected = max(chat.get_num_tokens(text) for text in right_answers(row) or [REFUSAL])
    prompt = convert_to_messages([dict(each) for each in row["messages"]])
    text, tokens, times = "", 0, [perf_counter()]
    for chunk in chat.stream(prompt, max_tokens=2 * expected + ROOM):
        times.append(perf_counter())
        text += chunk.text
        tokens = chunk.usage_metadata["output_tokens"] if chunk.usage_metadata else tokens
    began, first, *_ = times
    return Answer(text, first - began + expected * (times[-1] - first) / max(1, tokens))


def _scores(found: Scores, who: str) -> Scores:
    seconds = found[f"{who}/{SECONDS}"]
    longest = LONGEST * median(seconds)
    latency = [-min(each, longest) for each in seconds]
    scores = {REFUSALS: found[f"{who}/{REFUSALS}"], LATENCY: latency}
    grounded = found.get(f"{who}/{GROUNDEDNESS}")
    return {**scores, GROUNDEDNESS: grounded} if grounded else scores
