"""Requests for the scheduler's tests, and what became of them."""

import time
from collections.abc import Callable
from typing import Any

import torch

from markgraph.engines.native.admission import Limits
from markgraph.engines.native.pipe import UNREAD, Pipe
from markgraph.engines.native.request import Request
from markgraph.engines.native.scheduler import Load, Scheduler
from markgraph.engines.port import Sampling
from tests.engines.recurrence import Recurrence

END = frozenset([0])
NOTHING = Load(0, 0, 0)


def request(prompt: list[int], max_tokens: int = 12, **sampling: Any) -> Request:
    settings = Sampling(max_tokens, **sampling)
    return Request(settings, "", Pipe(lambda: None), list(prompt), len(prompt) + max_tokens)


def answer(request: Request) -> list[int]:
    """Return the tokens of a request that has ended; raise what it failed with."""
    assert untaken(request), "it has not ended"
    return [token.id for token in request.pipe.read()]


def untaken(request: Request) -> int:
    """Return how many tokens wait for the consumer, the end counted as one."""
    return UNREAD - request.pipe.room


def run(scheduler: Scheduler) -> None:
    """Turn until there is nothing to do."""
    while scheduler.turn():
        pass


def alone(prompt: list[int], max_tokens: int = 12, **sampling: Any) -> list[int]:
    """Return the answer that `prompt` gets when nobody else asks."""
    scheduler = Scheduler(Recurrence(), END, Limits())
    one = request(prompt, max_tokens, **sampling)
    scheduler.submit(one)
    run(scheduler)
    return answer(one)


def prompts(count: int, length: int = 7) -> list[list[int]]:
    """Return random prompts."""
    made = torch.randint(1, 64, (count, length), generator=torch.Generator().manual_seed(5))
    found: list[list[int]] = made.tolist()
    return found


def soon(condition: Callable[[], bool]) -> bool:
    """Return whether `condition` holds within a while."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()
