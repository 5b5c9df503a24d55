"""The parity gate: what is served is what was trained, token for token and prediction for prediction.

Served is what the native engine makes of the files: an adapter is merged into its base first. The prompts
are those that `LocalChatModel` hands to its engine.

Does NOT include: models that nobody chats with (rewards, embedders, rerankers).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from langchain_core.messages import convert_to_messages
from torch import Tensor

from markgraph.engines.native.load import load_decoder, native
from markgraph.engines.native.serving import passing_mode
from markgraph.engines.port import Sampling, Token
from markgraph.errors import MarkError, UsageError
from markgraph.models.chat import LocalChatModel
from markgraph.models.machine import usual_threads
from markgraph.models.merge import merged
from markgraph.models.quality import CHUNK, Bounds, Quality, compare_formats
from markgraph.models.weights import load_causal
from markgraph.training.base import Base
from markgraph.training.render import completion_ids, tokens
from markgraph.training.rows import Row
from markgraph.training.scoring import is_adapter, load

EXACT = Bounds(kl=1e-6, top1=0.999)
"""What is tolerated of the unquantised model: the rounding of other orders of addition, and nothing else."""
SAME = 1e-5
"""The same for the mean log-likelihood, nats per token. SmolLM2 rounds 2e-6 away; in bfloat16 it is 5e-4, and
2e-4 where a weak adapter's scale is 33/16 instead of 32/16."""
QUANTISED = Bounds(kl=0.05, top1=0.9)
"""The same for int8 and int4: rows are few and short, so this is wider than what the gate holds a format to
over a long text (`markgraph.models.gate`)."""
WIDTHS = (1, CHUNK)
"""Tokens at once: an answer, and a prompt."""
AROUND = 6
"""Tokens that an error shows on each side of the one that differs."""


class ParityError(MarkError):
    """A model would be served otherwise than it was trained."""


@dataclass(frozen=True)
class Parity:
    """What was compared, and how near it was."""

    rows: int
    tokens: int
    """Tokens of these rows, all of them the same for training and for serving."""
    modes: Mapping[str, Mapping[int, Quality]]
    """How near the served model's predictions are to the trained one's: by mode, and tokens read at once."""

    def as_json(self) -> dict[str, Any]:
        """Return it as a card holds it."""
        modes = {
            mode: {str(width): asdict(quality) for width, quality in found.items()}
            for mode, found in self.modes.items()
        }
        return {"rows": self.rows, "tokens": self.tokens, "modes": modes}


def check_parity(
    base: Base,
    model: Path,
    rows: Sequence[Row],
    *,
    mode: str = "fast",
    limit: int = 8,
    served: Path | None = None,
) -> Parity:
    """Return how near what is served is to what was trained, if it is near enough.

    Args:
        base: what the training started from: its tokenizer and chat template made the rows' tokens.
        model: what was trained: an adapter, or a whole model.
        rows: held-back rows; the first `limit` of those that have a prompt are compared.
        mode: what the engine serves in; `exact` is always compared, too.
        limit: how many rows are compared.
        served: the folder that is served; otherwise what serving makes of `base` and `model`.

    Raises:
        ParityError: showing the first token that differs, at what serving ends answers and training does
            not or the other way round, or which bound is broken.
        UsageError: there is no row that could be compared.
    """
    chosen = [row for row in rows if "messages" in row][:limit]
    if not chosen:
        raise UsageError("No row has a prompt that could be compared. Allowed: rows with messages.")
    folder = served or (merged(base.folder, model) if is_adapter(model) else model)
    ids = [_same_tokens(base, folder, row) for row in chosen]
    _check_ends(base, Base("served", f"file:{folder}"))
    trained, found = load(base, model), {}
    for each in dict.fromkeys(("exact", mode)) if native(folder) else ("transformers",):
        found[each] = _compared(trained, folder, each, ids)
        _check(folder, each, found[each])
    return Parity(len(ids), sum(map(len, ids)), found)


def _same_tokens(base: Base, folder: Path, row: Row) -> list[int]:
    """Return the row's tokens, if serving makes the same of it; the last is where it stops."""
    text = _answer(row)
    trained = tokens(base, row, text).ids
    server = Base("served", f"file:{folder}", template_values=base.template_values)
    prompt = _sent(server, row)
    _check_same(base, server, row, trained, [*prompt, *completion_ids(server, text)])
    return trained


def _sent(server: Base, row: Row) -> list[int]:
    """Return the prompt that serving hands to its engine."""
    listening = _Listening(server.tokenizer)
    chat = LocalChatModel(engine=listening, template_values=dict(server.template_values))
    chat.invoke(convert_to_messages([dict(each) for each in row["messages"]]))
    return listening.prompt


class _Listening:
    """An engine that keeps what it is asked, and says nothing."""

    context_tokens = 1 << 30

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.prompt: list[int] = []

    def stream(self, prompt: list[int], sampling: Sampling) -> Iterator[Token]:  # noqa: ARG002
        self.prompt = prompt
        yield from ()

    async def astream(self, prompt: list[int], sampling: Sampling) -> Any:
        for token in self.stream(prompt, sampling):
            yield token


def _check_same(base: Base, server: Base, row: Row, trained: list[int], sent: list[int]) -> None:
    if trained == sent:
        return
    pairs = enumerate(zip(trained, sent, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(trained), len(sent)))
    shown = slice(max(0, at - AROUND), at + AROUND)
    told = [
        f"token {ids[at : at + 1]} in {tokenizer.decode(ids[shown])!r}"
        for ids, tokenizer in ((trained, base.tokenizer), (sent, server.tokenizer))
    ]
    raise ParityError(
        f"Row {row['id'][:12]} is not served as it was trained: at position {at}, training has {told[0]}, "
        f"serving {told[1]}. The served tokenizer or its chat template differs from that of {base.source}; "
        "train again with the one that is served, or serve the one that was trained with."
    )


def _check_ends(base: Base, server: Base) -> None:
    if base.ends == server.ends:
        return
    told = [
        f"only {who} {', '.join(f'{token} ({tokenizer.decode([token])!r})' for token in sorted(ends))}"
        for who, ends, tokenizer in (
            ("training ends answers at", base.ends - server.ends, base.tokenizer),
            ("serving ends answers at", server.ends - base.ends, server.tokenizer),
        )
        if ends
    ]
    raise ParityError(
        f"What is served does not end answers where they ended in training: {'; '.join(told)}. Give "
        f"generation_config.json and the tokenizer in {server.folder} the eos_token_id of {base.source}, or "
        "train again from what is served."
    )


def _compared(trained: Any, folder: Path, mode: str, rows: Sequence[list[int]]) -> dict[int, Quality]:
    decoder = None if mode == "transformers" else load_decoder(folder, mode)
    other = load_causal(folder, "float32")[1] if decoder is None else None
    found = []
    with torch.inference_mode():
        for ids in rows:
            expected = _Predictions(trained, ids)
            if decoder is None:
                found.append(compare_formats(expected, _Predictions(other, ids), ids, (CHUNK,)))
            else:
                found.append(compare_formats(expected, decoder, ids, WIDTHS))
    return {width: _pooled([each[width] for each in found]) for width in found[0]}


def _check(folder: Path, mode: str, found: Mapping[int, Quality]) -> None:
    quantised = mode not in ("exact", "transformers")
    broken = (QUANTISED if quantised else EXACT).broken_at(found)
    if not quantised:
        broken += _drifted(found)
    if not broken or (quantised and passing_mode(folder, mode, usual_threads()) == "exact"):
        return  # it is near enough, or not served in that mode either
    raise ParityError(
        f"What is served in mode {mode} does not predict what was trained. Got, {'; '.join(broken)}. "
        "The weights, the adapter's scale or the number format differ; serve what was trained."
    )


def _drifted(found: Mapping[int, Quality]) -> list[str]:
    """Return where the rows are likelier, or less likely, than when they were trained on."""
    return [
        f"reading {width} at once: log-likelihood off by {gap:.1e} nats a token, allowed: at most {SAME:.0e}"
        for width, each in found.items()
        if not (gap := abs(each.nll_candidate - each.nll_reference)) <= SAME
    ]


class _Predictions:
    """What a transformers model expects after each token of a text: it reads all of it at once."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        read = torch.tensor([list(ids)], device=model.device)
        self._logits: Tensor = model(input_ids=read, use_cache=False).logits[0].float().cpu()  # (l, v)

    def open(self, capacity: int) -> list[int]:  # noqa: ARG002
        return [0]

    def verify(self, states: Sequence[list[int]], ids: Sequence[Sequence[int]]) -> list[Tensor]:
        return [self._next(state, len(each)) for state, each in zip(states, ids, strict=True)]

    def read(self, state: list[int], ids: Sequence[int]) -> Tensor:
        return self._next(state, len(ids))[-1]

    def step(self, states: Sequence[list[int]], ids: Sequence[int]) -> Tensor:
        return torch.cat([self._next(state, 1) for state, _ in zip(states, ids, strict=True)])

    def _next(self, state: list[int], n: int) -> Tensor:
        state[0] += n
        return self._logits[state[0] - n : state[0]]


def _pooled(found: Sequence[Quality]) -> Quality:
    """Return the means over all positions."""
    total = sum(each.tokens for each in found)

    def mean(name: str) -> float:
        return float(sum(getattr(each, name) * each.tokens for each in found)) / total

    return Quality(mean("kl"), mean("top1"), mean("nll_reference"), mean("nll_candidate"), total)


def _answer(row: Row) -> str:
    """Return an answer that a row holds: what is learned, or else what is right."""
    given = row.get("completion") or row.get("chosen") or (row.get("reference") or [""])[0]
    return str(given)
