"""Gives a caller the model that they may use: what learned from documents is for whoever may read these.

Whoever may not use an adapter is answered by its base. Outside of a graph's run nobody is asking, and nobody
may use what was registered.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from langgraph.runtime import get_runtime

from markgraph.engines.port import Engine
from markgraph.errors import ConfigError, DeniedError, StorageError, UsageError
from markgraph.models.cards import may_use
from markgraph.models.registry import SCHEME, located, pinned
from markgraph.models.source import resolve
from markgraph.security.caller import PUBLIC, Caller, caller_of
from markgraph.security.permissions import Permissions

log = logging.getLogger(__name__)


@runtime_checkable
class Learned(Protocol):
    """An engine that knows where its weights come from."""

    def references(self, adapter: str | None) -> tuple[str, ...]:
        """Return what answers with `adapter` come from: pinned references to the base and to adapters."""

    def bare(self) -> "Engine | None":
        """Return the same engine without the adapter that is merged into it; None if there is none."""


def for_caller(engine: Engine, adapter: str | None = None) -> tuple[Engine, str | None]:
    """Return the engine and the adapter's name that answer whoever asks in the run under way.

    Raises:
        DeniedError: they may use neither these nor their base.
    """
    if not isinstance(engine, Learned) or not _registered(engine.references(adapter)):
        return engine, adapter
    caller = _running_caller()
    bare = engine.bare()
    for one, name in ((engine, adapter), (engine, None), (bare, adapter), (bare, None)):
        if isinstance(one, Learned) and _all_usable(caller, one.references(name)):
            return one, name
    raise _denied(caller, engine.references(adapter))


def require_usable(caller: Caller, references: Iterable[str]) -> None:
    """Refuse pinned references to what a caller may not use.

    Raises:
        DeniedError: naming them.
    """
    wanted = tuple(references)
    if not _all_usable(caller, wanted):
        raise _denied(caller, wanted)


def resolve_for_all(reference: str, sha256: str | None = None) -> Path:
    """Return weights that serve all callers alike: an embedder's, since an index holds everybody's vectors.

    Raises:
        ConfigError: they learned from documents that not everybody may read.
        WeightsError: they can't be had.
    """
    reference = pinned(reference)
    for each in _registered([reference]):
        registry, name, version = located(each)
        closed = [one for one in registry.audience(name, int(version)) if not _for_everybody(one)]
        if closed:
            raise ConfigError(
                f"{reference} learned from documents that not everybody may read, and would serve everybody. "
                "Allowed: what learned from public documents only. Use another, or train it on those."
            )
    return resolve(reference, sha256)


def _for_everybody(permissions: Permissions) -> bool:
    return PUBLIC in permissions.readers and permissions.classification == 0


def label(references: Iterable[str]) -> str:
    """Return what tells answers of registered models from those of others: `+law@3`, empty without any."""
    return "".join(f"+{each.removeprefix(SCHEME).rpartition('#')[2]}" for each in _registered(references))


def _registered(references: Iterable[str]) -> list[str]:
    return [each for each in references if each.startswith(SCHEME)]


def _all_usable(caller: Caller, references: Iterable[str]) -> bool:
    return all(_usable(caller, each) for each in references)


def _usable(caller: Caller, reference: str) -> bool:
    """Tell whether a caller may use what a pinned reference means; what can't be read, nobody may use."""
    if not reference.startswith(SCHEME):
        return True
    registry, name, version = located(reference)
    try:
        return may_use(caller, registry.audience(name, int(version)))
    except (StorageError, UsageError) as error:
        log.warning("Nobody may use %s: %s", reference, error)
        return False


def _denied(caller: Caller, references: Iterable[str]) -> DeniedError:
    withheld = [each for each in references if not _usable(caller, each)]
    return DeniedError(
        f"{caller.subject or 'Nobody'!r} may not use {', '.join(withheld)}: it learned from documents that "
        "not everybody may read. Allowed: callers who may read all of them. Use another model."
    )


def _running_caller() -> Caller:
    """Return whose run this is; outside of a graph's run, nobody."""
    try:
        runtime = get_runtime(Caller)
    except RuntimeError:
        return Caller()
    return caller_of(runtime) if runtime is not None else Caller()
