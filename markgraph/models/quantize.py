"""What a mode does to a model: size, speed, perplexity and answers, before and after.

Weights are packed while a model loads, so there is no other file to write: what is kept is
what was measured, for `markgraph.models.gate`.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markgraph.errors import UsageError
from markgraph.models.agreement import Agreement, Speed, agreement, greedy, speed
from markgraph.models.gate import (
    TOKENS,
    WIDTHS,
    bounds_of,
    evaluation,
    parameters,
    remember,
    require_room_to_compare,
)
from markgraph.models.quality import Bounds, Quality, compare_formats
from markgraph.models.weights import load_tokenizer

if TYPE_CHECKING:
    from markgraph.engines.native.decoder import Decoder

ANSWER = 48
"""Tokens of an answer that are compared."""


@dataclass(frozen=True)
class Form:
    """A model in one mode."""

    nbytes: int
    """Memory that its tensors take."""
    speed: Speed


@dataclass(frozen=True)
class Report:
    """A model before and after it was brought into a mode."""

    model: str
    mode: str
    parameters: int
    before: Form
    after: Form
    quality: dict[int, Quality]
    """By how many tokens are read at once."""
    answers: Agreement
    bounds: Bounds
    broken: list[str]
    """What breaks a bound, in words; empty for a mode that passes."""


def quantize(folder: Path, mode: str, bounds: Bounds | None = None) -> Report:
    """Compare `mode` with the unquantised model, and keep what is found.

    Raises:
        UsageError: there is no such mode, it quantises nothing, or the model is none of the native engine's.
        TooLargeError: there is no room for both forms at once.
    """
    if mode == "exact":
        raise UsageError("mode=exact quantises nothing. Allowed: fast, small.")
    allowed = bounds or bounds_of(mode)
    require_room_to_compare(folder, mode)
    tokenizer = load_tokenizer(folder)
    ids = tokenizer(evaluation()["text"]).input_ids[:TOKENS]
    prompts = [_asked(tokenizer, prompt) for prompt in evaluation()["prompts"]]
    answer = partial(_answers, prompts=prompts, ends=frozenset({tokenizer.eos_token_id}))
    (exact, before), (candidate, after) = _loaded(folder, "exact", ids), _loaded(folder, mode, ids)
    quality = compare_formats(exact, candidate, ids, WIDTHS)
    answers = agreement(answer(exact), answer(candidate))
    broken = allowed.broken_at(quality)
    remember(folder, mode, quality)
    return Report(folder.name, mode, parameters(folder), before, after, quality, answers, allowed, broken)


def _loaded(folder: Path, mode: str, ids: list[int]) -> "tuple[Decoder, Form]":
    from markgraph.engines.native.load import load_decoder

    decoder, nbytes = _weighed(lambda: load_decoder(folder, mode))
    return decoder, Form(nbytes, speed(decoder, ids))


def _weighed(make: "Callable[[], Decoder]") -> "tuple[Decoder, int]":
    """Return what `make` returns, and the bytes of the tensors that it left in this process."""
    gc.collect()  # what is garbage now is not of what is made
    before = tensor_bytes()
    made = make()
    gc.collect()
    return made, tensor_bytes() - before


def tensor_bytes() -> int:
    """Return the bytes of all tensors in this process, shared memory counted once."""
    import torch

    sizes: dict[int, int] = {}
    for each in gc.get_objects():
        if issubclass(type(each), torch.Tensor):  # isinstance would wake lazy modules of other libraries
            if each.is_mkldnn:  # has no storage to ask
                sizes[id(each)] = each.numel() * each.element_size()
            else:
                sizes[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
    return sum(sizes.values())


def _asked(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a question, in the model's own form of a chat if it has one."""
    if tokenizer.chat_template is None:
        return list(tokenizer(prompt).input_ids)
    turn = [{"role": "user", "content": prompt}]
    return list(tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False))


def _answers(decoder: "Decoder", prompts: list[list[int]], ends: frozenset[int]) -> list[list[int]]:
    return [greedy(decoder, prompt, ANSWER, ends) for prompt in prompts]
