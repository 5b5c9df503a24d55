"""OpenVINO GenAI under the bench. Run by `worker.py`; needs openvino-genai only."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino_genai
from openvino import Tensor

Timed = list[tuple[float, int]]
"""Tokens of one answer: seconds since the request, id."""


def load(weights: str, threads: int, cache_gb: int = 1) -> dict[str, Callable[..., Any]]:
    """Load a GGUF file or a folder with an OpenVINO model, for one request or many."""
    engine = _OpenVino(weights, threads, cache_gb)
    return {"answer": engine.answer, "batch": engine.batch}


class _OpenVino:
    def __init__(self, weights: str, threads: int, cache_gb: int) -> None:
        plan = openvino_genai.SchedulerConfig()
        plan.cache_size = cache_gb
        plan.enable_prefix_caching = False
        plan.max_num_batched_tokens = 2048
        self._pipe = openvino_genai.ContinuousBatchingPipeline(
            weights, plan, "CPU", {"INFERENCE_NUM_THREADS": threads}
        )
        self._asked = 0

    def answer(self, prompt: Sequence[int], new: int) -> Timed:
        """Read `prompt` and return `new` tokens."""
        return self.batch([prompt], new)[0]

    def batch(self, prompts: Sequence[Sequence[int]], new: int) -> list[Timed]:
        """Answer all `prompts` at once."""
        rule = openvino_genai.GenerationConfig(max_new_tokens=new, ignore_eos=True, do_sample=False)
        begun = time.perf_counter()
        handles = []
        for prompt in prompts:
            ids = Tensor(np.asarray([prompt], dtype=np.int64))
            handles.append(self._pipe.add_request(self._asked, ids, rule))
            self._asked += 1
        answers: list[Timed] = [[] for _ in prompts]
        while self._pipe.has_non_finished_requests():
            self._pipe.step()
            now = time.perf_counter() - begun
            for handle, answer in zip(handles, answers, strict=True):
                if handle.can_read():
                    for output in handle.read().values():
                        answer.extend((now, int(token)) for token in output.generated_ids)
        return answers
