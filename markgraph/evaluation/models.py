"""Measures a model by itself: how well it foretells a text, which answers it prefers, and how fast it is.

Numbers of different tokenizers compare: what a text costs is told in bits per byte. A pair is judged by the
mean log-probability of its answers' tokens, so that the longer one does not lose for its length.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from markgraph.errors import UsageError
from markgraph.evaluation.beir import read_rows
from markgraph.models.chat_template import encode
from markgraph.models.quality import CHUNK, Reads

if TYPE_CHECKING:
    import torch

PIECE = 1500
"""Characters of a stretch of text that is read by itself, ended at a paragraph where there is one."""
PROMPT, ANSWER, TIMES = 512, 64, 3
"""Tokens that are read, then written, and how often that is timed."""
ROLES = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}


class Model(Reads, Protocol):
    """As much of `markgraph.engines.native.decoder.Decoder` as is measured."""

    window: int


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt, of which somebody liked one better."""

    messages: list[BaseMessage]
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Foretold:
    """What a stretch of text cost."""

    bits: float
    tokens: int
    """Those that were foretold: all but the first."""
    size: int
    """Bytes in UTF-8."""


def pieces_of(text: str) -> list[str]:
    """Cut a text into stretches of about `PIECE` characters, at empty lines."""
    pieces: list[str] = []
    for paragraph in filter(str.strip, text.split("\n\n")):
        if pieces and len(pieces[-1]) + len(paragraph) < PIECE:
            pieces[-1] += f"\n\n{paragraph}"
        else:
            pieces.append(paragraph)
    return pieces


def pairs_in(file: Path) -> list[Pair]:
    """Read lines with `chosen`, `rejected`, and a `prompt` or `messages`: those of a training's rows, too.

    Raises:
        UsageError: a line is none of those, or there is none.
    """
    pairs = []
    for number, row in read_rows(file):
        turns = row.get("messages") or [{"role": "user", "content": row.get("prompt")}]
        answers = [row.get("chosen"), row.get("rejected")]
        known = isinstance(turns, list) and all(map(_is_turn, turns))
        if not known or not all(isinstance(each, str) and each for each in answers):
            raise UsageError(
                f"{file}, line {number}: expected texts prompt, chosen and rejected, or messages in place of "
                f"a prompt; got {', '.join(row)}."
            )
        messages = [ROLES[turn["role"]](turn["content"]) for turn in turns]
        pairs.append(Pair(messages, row["chosen"], row["rejected"]))
    if not pairs:
        raise UsageError(f"{file} has no pairs.")
    return pairs


def _is_turn(turn: object) -> bool:
    """Tell whether something is a turn of a prompt."""
    if not isinstance(turn, dict):
        return False
    return turn.get("role") in tuple(ROLES) and isinstance(turn.get("content"), str)


def foretell(model: Model, tokenizer: Any, text: str) -> Foretold:
    """Return what `text` costs the model; one longer than its window is cut there."""
    ids = tokenizer(text).input_ids[: model.window]
    if len(ids) < 2:
        return Foretold(0.0, 0, 0)
    said = tokenizer.decode(ids[1:])
    nats = -float(_log_probabilities(model, ids, 1).double().sum())
    return Foretold(nats / math.log(2), len(ids) - 1, len(said.encode()))


def prefers(model: Model, tokenizer: Any, pair: Pair) -> tuple[float, float]:
    """Return the mean log-probability of the chosen answer's tokens, and of the rejected one's."""
    prompt = encode(tokenizer, pair.messages, [], None, {})
    means = []
    for answer in (pair.chosen, pair.rejected):
        ids = [*prompt, *tokenizer(answer, add_special_tokens=False).input_ids]
        if len(ids) > model.window:
            raise UsageError(
                f"A pair has {len(ids)} tokens, and the model reads {model.window}. Leave out such long ones."
            )
        means.append(float(_log_probabilities(model, ids, len(prompt)).double().mean()))
    return means[0], means[1]


def speed(model: Model, tokenizer: Any, text: str) -> dict[str, float]:
    """Return tokens per second, read and then written one by one: the medians of some rounds."""
    ids = (tokenizer(text).input_ids * PROMPT)[: min(PROMPT, model.window // 2)]
    reading, writing = [], []
    for _ in range(TIMES):
        state = model.open(len(ids) + ANSWER)
        began = perf_counter()
        last = int(model.read(state, ids).argmax())
        read = perf_counter()
        for _ in range(ANSWER):
            last = int(model.step([state], [last])[0].argmax())
        reading.append(len(ids) / (read - began))
        writing.append(ANSWER / (perf_counter() - read))
    return {
        "prefill_tokens_per_s": round(median(reading), 1),
        "decode_tokens_per_s": round(median(writing), 1),
    }


def perplexity_of(foretold: Sequence[Foretold]) -> float:
    """Return the perplexity by token; it compares only for the same tokenizer."""
    bits = sum(each.bits for each in foretold)
    return float(2 ** (bits / max(1, sum(each.tokens for each in foretold))))


def scores_of(
    foretold: Sequence[Foretold], preferred: Sequence[tuple[float, float]]
) -> Mapping[str, list[float]]:
    """Return a score for each stretch, and a 1 for each right pair; higher is better."""
    scores = {"minus_bits_per_byte": [-each.bits / each.size for each in foretold if each.size]}
    if preferred:
        scores["pair_accuracy"] = [float(chosen > rejected) for chosen, rejected in preferred]
    return scores


def _log_probabilities(model: Model, ids: Sequence[int], start: int) -> "torch.Tensor":
    """Return the log-probability of each of `ids` from `start` on, given those before it: (n - start,)."""
    import torch

    state, found = model.open(len(ids)), []
    with torch.inference_mode():
        for at, logits in _read(model, state, ids[:-1]):
            after = torch.tensor(ids[at + 1 : at + 1 + len(logits)])  # (l,)
            found.append(logits.float().log_softmax(-1).gather(1, after[:, None])[:, 0])
    return torch.cat(found)[start - 1 :]


def _read(model: Model, state: Any, ids: Sequence[int]) -> "Iterator[tuple[int, torch.Tensor]]":
    """Yield where each stretch of `ids` begins, with the logits after each of its tokens (l, v)."""
    for at in range(0, len(ids), CHUNK):
        yield at, model.verify([state], [ids[at : at + CHUNK]])[0]
