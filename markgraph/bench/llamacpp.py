"""llama.cpp under the bench, by llama-cpp-python's own C API: neither its Python loop nor its sampler counts.

Run by `worker.py`; needs llama-cpp-python only.
"""

import ctypes
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
import numpy as np

Timed = list[tuple[float, int]]
"""Tokens of one answer: seconds since the request, id."""


class Row(NamedTuple):
    """A token to read."""

    token: int
    position: int
    sequence: int
    wanted: bool
    """What follows it is asked for."""


def load(weights: str, requantised: str | None = None, **settings: Any) -> dict[str, Callable[..., Any]]:
    """Load a GGUF file, or what it is as Q4_0: `requantised`, which is written unless it is there."""
    llama_cpp.llama_backend_init()
    if requantised is not None and not Path(requantised).exists():
        _requantise(Path(weights), Path(requantised))
    llama = _Llama(requantised or weights, **settings)
    return {"answer": llama.answer, "batch": llama.batch}


def _requantise(source: Path, target: Path) -> None:
    """Write `source` again as Q4_0, which llama.cpp repacks for this processor, unlike Q4_1."""
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    options.allow_requantize = True
    draft = target.with_suffix(f".{os.getpid()}")
    failed = llama_cpp.llama_model_quantize(str(source).encode(), str(draft).encode(), ctypes.byref(options))
    if failed:
        raise RuntimeError(f"llama.cpp could not requantise {source} as {target}")
    draft.rename(target)


class _Llama:
    """A model and a context for `requests` at once, each of at most `window` tokens."""

    def __init__(
        self,
        weights: str,
        threads: int,
        window: int,
        requests: int = 1,
        flash: bool = True,
        micro_batch: int = 512,
        unified: bool = False,
    ) -> None:
        model = llama_cpp.llama_model_load_from_file(weights.encode(), llama_cpp.llama_model_default_params())
        if not model:
            raise RuntimeError(f"llama.cpp can't load {weights}")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = window * requests
        options.n_batch = 2048
        options.n_ubatch = micro_batch
        options.n_seq_max = requests
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = int(flash)
        options.kv_unified = unified
        self._context = llama_cpp.llama_init_from_model(model, options)
        if not self._context:
            raise RuntimeError("llama.cpp can't make a context")
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._room = options.n_batch
        self._batch = llama_cpp.llama_batch_init(self._room, 0, requests)

    def answer(self, prompt: Sequence[int], new: int) -> Timed:
        """Read `prompt` from an empty cache and return `new` tokens."""
        return self.batch([prompt], new)[0]

    def batch(self, prompts: Sequence[Sequence[int]], new: int) -> list[Timed]:
        """Answer all `prompts` at once: one batch a step for all of them."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)
        begun = time.perf_counter()
        answers: list[Timed] = [[] for _ in prompts]
        rows = [
            Row(token, place, at, place == len(prompt) - 1)
            for at, prompt in enumerate(prompts)
            for place, token in enumerate(prompt)
        ]
        for step in range(new):
            for row, token in self._decode(rows):
                answers[row.sequence].append((time.perf_counter() - begun, token))
            rows = [
                Row(answer[-1][1], len(prompts[at]) + step, at, True) for at, answer in enumerate(answers)
            ]
        return answers

    def _decode(self, rows: Sequence[Row]) -> Iterator[tuple[Row, int]]:
        """Run `rows`; yield each that is wanted with the likeliest token after it."""
        for start in range(0, len(rows), self._room):
            part = rows[start : start + self._room]
            for i, row in enumerate(part):
                self._batch.token[i] = row.token
                self._batch.pos[i] = row.position
                self._batch.n_seq_id[i] = 1
                self._batch.seq_id[i][0] = row.sequence
                self._batch.logits[i] = row.wanted
            self._batch.n_tokens = len(part)
            failed = llama_cpp.llama_decode(self._context, self._batch)
            if failed:
                raise RuntimeError(f"llama_decode returned {failed}")
            yield from [(row, self._likeliest(i)) for i, row in enumerate(part) if row.wanted]

    def _likeliest(self, row: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, row)
        return int(np.ctypeslib.as_array(logits, shape=(self._vocabulary,)).argmax())
