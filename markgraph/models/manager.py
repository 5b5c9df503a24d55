"""Keeps models in memory: loaded when first asked for, dropped when others need the room.

A lease holds a model for as long as it answers. What nobody holds stays until the budget is needed for
another; the least recently used goes first. Models that differ only in their adapters share one base.

Does NOT include: measuring what a model takes; its config says that.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, Thread
from typing import Protocol, runtime_checkable

from markgraph.engines.port import Engine
from markgraph.errors import ConfigError, OverloadedError
from markgraph.models.machine import memory
from markgraph.models.tiers import gigabytes, require_room

SHARE = 0.75
"""How much of the memory that is free models may take, unless a budget is given."""


@runtime_checkable
class Closable(Protocol):
    """An engine that has threads or files of its own."""

    def close(self) -> None:
        """Give up what it holds; nobody uses it any more."""


@dataclass(frozen=True)
class Spec:
    """A model that may be loaded."""

    name: str
    key: str
    """Equal for two that share a base: all of their settings, except adapters."""
    nbytes: int
    """Memory that it takes, in bytes."""
    make: Callable[[Mapping[str, str]], Engine]
    """Makes the engine, with the adapters it is given."""
    adapters: tuple[tuple[str, str], ...] = ()
    """Name and source of each adapter."""


@dataclass(eq=False)
class _Entry:
    """A model that is wanted, being loaded, or in memory."""

    spec: Spec
    adapters: dict[str, str]
    engine: Future[Engine] = field(default_factory=Future)
    leases: int = 0
    used: int = 0
    """When it was last used: later is more."""
    counted: bool = False
    """Its memory is part of what is taken."""

    def serves(self, spec: Spec) -> bool:
        return self.spec.key == spec.key and self.adapters.items() >= set(spec.adapters)


@dataclass(frozen=True)
class Held:
    """A model in memory, as `held` reports it."""

    name: str
    nbytes: int
    leases: int
    """How many requests it answers at this moment."""
    adapters: tuple[str, ...]


class ModelManager:
    """Loads models on demand and holds them within a budget. Safe to use from many threads.

    Args:
        budget: bytes that models may take together; None for three quarters of what is free at first use.
        patience: seconds that a request waits for others to let go of the memory it needs.
    """

    def __init__(self, budget: int | None = None, patience: float = 60.0) -> None:
        self._budget = budget if budget is not None else int(SHARE * memory().room)
        self._patience = patience
        self._entries: list[_Entry] = []
        self._adapters: dict[str, dict[str, str]] = {}
        self._taken = 0
        self._uses = count(1)
        self._changed = Condition()

    def announce(self, spec: Spec) -> None:
        """Take note of a model that will be asked for: its adapters are loaded together with their base.

        Raises:
            ConfigError: another adapter of the same base has the same name.
        """
        with self._changed:
            known = self._adapters.setdefault(spec.key, {})
            for name, source in spec.adapters:
                if known.get(name, source) != source:
                    raise ConfigError(
                        f"Adapter {name!r} of {spec.name} is {source}, and {known[name]} in another config. "
                        "Allowed: one source for each name. Rename one of them."
                    )
            known.update(spec.adapters)

    @contextmanager
    def lease(self, spec: Spec) -> Iterator[Engine]:
        """Hold the model in memory for the block, loading it first if need be.

        Raises:
            TooLargeError: it needs more than the budget, or than is free.
            OverloadedError: what is in use leaves no room for it, and goes on doing so.
        """
        with self._claimed(spec) as (entry, first):
            if first:
                self._load(entry)
            yield entry.engine.result()

    @asynccontextmanager
    async def alease(self, spec: Spec) -> AsyncIterator[Engine]:
        """Do the same, without holding a thread except to load."""
        with self._claimed(spec) as (entry, first):
            if first:
                # It goes on when the one who asked first is cancelled: others may wait for it.
                Thread(target=self._load, args=(entry,), name="load a model", daemon=True).start()
            yield await asyncio.shield(asyncio.wrap_future(entry.engine))

    @contextmanager
    def _claimed(self, spec: Spec) -> Iterator[tuple[_Entry, bool]]:
        """Keep the spec's entry from being dropped; yield it, and whether it is new and has to be loaded."""
        with self._changed:
            entry = next((entry for entry in reversed(self._entries) if entry.serves(spec)), None)
            first = entry is None
            if entry is None:
                entry = _Entry(spec, self._adapters.get(spec.key, {}) | dict(spec.adapters))
                self._entries.append(entry)
            entry.leases += 1
        try:
            yield entry, first
        finally:
            with self._changed:
                entry.leases -= 1
                entry.used = next(self._uses)
                self._changed.notify_all()

    def held(self) -> list[Held]:
        """Return what is in memory, least recently used first."""
        with self._changed:
            there = sorted((entry for entry in self._entries if entry.counted), key=lambda entry: entry.used)
            return [Held(each.spec.name, each.spec.nbytes, each.leases, (*each.adapters,)) for each in there]

    def unload(self) -> None:
        """Drop every model that nobody uses."""
        while self._drop_idle():
            pass

    def _load(self, entry: _Entry) -> None:
        """Fill the entry; if that fails, forget it, and let all who wait for it fail alike."""
        try:
            self._reserve(entry)
            require_room(entry.spec.name, entry.spec.nbytes, memory().room)
            engine = entry.spec.make(entry.adapters)
            _ = engine.context_tokens  # engines read their weights at the first use
        except BaseException as error:
            with self._changed:
                self._forget(entry)
            entry.engine.set_exception(error)
        else:
            entry.engine.set_result(engine)

    def _reserve(self, entry: _Entry) -> None:
        """Take the entry's memory out of the budget, dropping what is not in use, or waiting for others."""
        need, name = entry.spec.nbytes, entry.spec.name
        require_room(name, need, self._budget, "that models may take together")
        end = time.monotonic() + self._patience
        while True:
            with self._changed:
                if self._taken + need <= self._budget:
                    self._taken += need
                    entry.counted = True
                    return
            if not self._drop_idle():
                self._wait(name, need, end)

    def _wait(self, name: str, need: int, end: float) -> None:
        with self._changed:
            # Looked at again with the lock held: a change in between would not wake us.
            if (
                self._idle()
                or self._taken + need <= self._budget
                or self._changed.wait(end - time.monotonic())
            ):
                return
            busy = ", ".join(entry.spec.name for entry in self._entries if entry.counted)
        raise OverloadedError(
            f"{name} needs {gigabytes(need)}. Got: {busy} in use. Allowed: {gigabytes(self._budget)} for all "
            "models together. Ask again later, or raise model_memory."
        )

    def _drop_idle(self) -> bool:
        """Unload the least recently used model that nobody uses; tell whether there was one."""
        with self._changed:
            idle = self._idle()
            if not idle:
                return False
            entry = min(idle, key=lambda each: each.used)
            self._entries.remove(entry)
        _close(entry.engine.result())
        entry.engine = Future()  # the last reference from here
        gc.collect()  # models hold cycles
        with self._changed:
            self._forget(entry)
        return True

    def _idle(self) -> list[_Entry]:
        return [
            entry for entry in self._entries if entry.counted and not entry.leases and entry.engine.done()
        ]

    def _forget(self, entry: _Entry) -> None:
        """Give the entry's memory back to the budget; called with the lock held."""
        if entry in self._entries:
            self._entries.remove(entry)
        if entry.counted:
            entry.counted = False
            self._taken -= entry.spec.nbytes
        self._changed.notify_all()


def _close(engine: Engine) -> None:
    if isinstance(engine, Closable):
        engine.close()
