"""How much a caller may use: requests, tokens and runs, and how much one run may.

Which door keeps what:

- requests: every HTTP request, at the door: `markgraph serve`, and LangGraph Server's auth.
- tokens, runs, steps, wall time: every run of a graph that was built with limits, wherever it runs: behind
  a door, on the command line, or in an application that imported it.
- tool calls: the node that calls tools.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from markgraph.config_errors import nearest
from markgraph.errors import ConfigError, LimitError
from markgraph.security.caller import Caller, owner_of
from markgraph.security.counters import Counters

Got = TypeVar("Got")
_LEASE = 3600.0
"""Seconds after which a run's place is free again where runs have no wall time: its server has died."""


class Rates(NamedTuple):
    """What a role may have more of."""

    requests: int | None
    tokens: int | None
    runs: int | None


def none() -> None:
    """Limit nothing."""


@dataclass(frozen=True)
class Limits:
    """What a caller, known by tenant and subject, may use. None limits nothing."""

    counters: Counters
    requests: int | None = 120
    """HTTP requests a minute."""
    tokens: int | None = 200_000
    """Tokens a minute, read and written. A call of the model is charged when it is over; who has used more
    than they may then waits."""
    runs: int | None = 8
    """Runs at once."""
    steps: int | None = 60
    """Steps of the graph in one run."""
    tool_calls: int | None = 20
    """Tools called in one turn; further calls are not run, and the model is told so."""
    wall_time: float | None = 300.0
    """Seconds that one run may take."""
    roles: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    """Requests, tokens and runs of those who hold a role; of several roles, the most counts."""
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(4, thread_name_prefix="limits"), repr=False, compare=False
    )
    # Not asyncio's own threads: where all of them compute, the door would wait for one.

    def __post_init__(self) -> None:
        """Refuse numbers that would let nobody in, and roles with settings that there are not."""
        for name in (*Rates._fields, "steps", "tool_calls", "wall_time"):
            _check(f"limits.{name}", getattr(self, name))
        for role, own in self.roles.items():
            for name, value in own.items():
                if name not in Rates._fields:
                    raise ConfigError(f"Unknown limits.roles.{role}.{name}.{nearest(name, Rates._fields)}")
                _check(f"limits.roles.{role}.{name}", value)

    def rates(self, caller: Caller) -> Rates:
        """Return what `caller` may use, with their roles."""
        base = Rates(self.requests, self.tokens, self.runs)
        own = [base._replace(**self.roles[role]) for role in caller.roles if role in self.roles]
        return Rates(*(_most(values) for values in zip(*own, strict=True))) if own else base

    def check_request(self, caller: Caller, starts_run: bool) -> None:
        """Count a request at a door; where it starts a run, make sure that one may start now.

        The run itself makes sure again, but a stream has then told its client already that all is well.

        Raises:
            LimitError: the caller has used their share.
        """
        mine, who = self.rates(caller), owner_of(caller)
        if mine.requests is not None and (wait := self.counters.hit(f"requests:{who}", mine.requests)):
            raise LimitError(
                f"{mine.requests} requests a minute are the most for {caller.subject!r}. {again(wait)}", wait
            )
        if starts_run:
            self.check_tokens(caller)
            if mine.runs is not None and not self.counters.free(f"runs:{who}", mine.runs):
                raise _too_many_runs(caller, mine.runs)

    async def acheck_request(self, caller: Caller, starts_run: bool) -> None:
        """Do the same without holding the event loop up."""
        await self.aside(lambda: self.check_request(caller, starts_run))

    def check_tokens(self, caller: Caller) -> None:
        """Make sure that the caller is not in debt.

        Raises:
            LimitError: they have used their tokens.
        """
        tokens = self.rates(caller).tokens
        if tokens is not None and (wait := self.counters.wait(f"tokens:{owner_of(caller)}", tokens)):
            raise LimitError(
                f"{tokens} tokens a minute are the most for {caller.subject!r}. {again(wait)}", wait
            )

    def charge_tokens(self, caller: Caller, amount: int) -> None:
        """Count tokens that a caller's run has used."""
        if amount and self.rates(caller).tokens is not None:
            self.counters.charge(f"tokens:{owner_of(caller)}", amount)

    def take_place(self, caller: Caller, lease: str) -> None:
        """Take a place among the runs of `caller`.

        Raises:
            LimitError: as many as may run at once do.
        """
        runs = self.rates(caller).runs
        seconds = self.wall_time or _LEASE
        if runs is not None and not self.counters.take(f"runs:{owner_of(caller)}", runs, lease, seconds):
            raise _too_many_runs(caller, runs)

    def give_back_place(self, caller: Caller, lease: str) -> None:
        """Give the place back."""
        self.counters.give_back(f"runs:{owner_of(caller)}", lease)

    async def aside(self, work: Callable[[], Got]) -> Got:
        """Do what may wait for a network in a thread, to its end even if the waiting is cancelled."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        return await asyncio.shield(running)


def _most(values: Sequence[int | None]) -> int | None:
    return None if None in values else max(value for value in values if value is not None)


def _check(name: str, value: Any) -> None:
    if value is not None and not (isinstance(value, int | float) and value > 0):
        raise ConfigError(f"{name} is {value!r}. Allowed: a number above 0, or null for no limit.")


def _too_many_runs(caller: Caller, runs: int) -> LimitError:
    return LimitError(
        f"{runs} runs at once are the most for {caller.subject!r}, and so many are under way. "
        "Try again when one of them is over."
    )


def again(seconds: float) -> str:
    """Return when to try again, in words."""
    return f"Try again in {LimitError('', seconds).retry_after} s."
