"""transformers' own modules under the bench, in a plain greedy loop: at least as fast as its `generate`.

Run by `worker.py`; needs torch and transformers only.
"""

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

Timed = list[tuple[float, int]]
"""Tokens of one answer: seconds since the request, id."""


def load(folder: str, threads: int, dtype: str = "bfloat16") -> dict[str, Callable[..., Any]]:
    """Load a folder with safetensors."""
    torch.set_num_threads(threads)
    model = _Model(folder, dtype)
    return {"answer": model.answer, "batch": model.batch}


class _Model:
    def __init__(self, folder: str, dtype: str) -> None:
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        self._model.eval()  # type: ignore[no-untyped-call]
        takes = inspect.signature(self._model.forward).parameters
        self._cache = "cache_params" if "cache_params" in takes else "past_key_values"

    def answer(self, prompt: Sequence[int], new: int) -> Timed:
        """Read `prompt` and return `new` tokens."""
        return self.batch([prompt], new)[0]

    @torch.inference_mode()
    def batch(self, prompts: Sequence[Sequence[int]], new: int) -> list[Timed]:
        """Answer `prompts` of one length as a static batch."""
        begun = time.perf_counter()
        answers: list[Timed] = [[] for _ in prompts]
        cache = self._cache
        step, past = torch.tensor(prompts), None  # (b, l)
        for _ in range(new):
            out = self._model(step, use_cache=True, logits_to_keep=1, **{cache: past})
            past, step = out[cache], out.logits[:, -1].argmax(-1, keepdim=True)  # (b, 1)
            now = time.perf_counter() - begun
            for answer, token in zip(answers, step[:, 0].tolist(), strict=True):
                answer.append((now, token))
        return answers
