"""What the models that a training uses have learned themselves: its base, a teacher, a judge, a writer.

What one of them knows, what is trained may come to know. So a training is for whoever may read all of that,
and so is its model.
"""

import os.path
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markgraph.errors import DeniedError
from markgraph.models.cards import Lineage, lineage, may_use
from markgraph.models.registry import ALIASES, SCHEME, Registry, located, pinned
from markgraph.security.caller import Caller
from markgraph.training.runs import Runs

GROUPS = ("model", "method", "data", "pipeline")
"""The groups of a training's config that may name models."""


def learned_before(settings: Mapping[str, Any], runs: Runs) -> dict[str, Lineage]:
    """Return what each model has learned that `settings` name: a registered one, or one in a run's folder.

    Raises:
        WeightsError: a registered one is not there.
        StorageError: it can't be known what one has learned.
    """
    found = {}
    for text in texts_in([settings.get(group) for group in GROUPS]):
        if text.startswith(SCHEME):
            found[text] = _of_registered(pinned(text))
        elif run := _run_of(text, runs):
            rows = [row for place in sorted(run.rglob("rows/train.jsonl")) for row in runs.rows(place)]
            found[text] = lineage(rows, runs.tenant(run))
    return found


def require_usable(settings: Mapping[str, Any], runs: Runs, caller: Caller) -> None:
    """Refuse a training with a model that `caller` may not use.

    Raises:
        DeniedError: naming it.
    """
    for name, learned in learned_before(settings, runs).items():
        if not may_use(caller, learned.audience):
            raise DeniedError(
                f"{caller.subject!r} may not train with {name}: it learned from documents that not everybody "
                "may read. Allowed: callers who may read all of them. Use another model."
            )


def require_own(registry: Registry, name: str, caller: Caller) -> None:
    """Refuse a name of another tenant's model, and one whose champion the caller may not compare theirs with.

    What the champion makes of rows would tell the caller what it has learned.

    Raises:
        DeniedError: saying which it is.
    """
    if any(each.card.tenant != caller.tenant for each in registry.versions(name)):
        raise DeniedError(f"{name!r} is the name of another tenant's model. Choose another: name=NAME.")
    champion = registry.aliases(name).get(ALIASES[0])
    if champion is not None and not may_use(caller, registry.audience(name, champion)):
        raise DeniedError(
            f"{caller.subject!r} may not use {name}@{champion}, in service: it learned from documents "
            "that not everybody may read. Allowed: callers who may read all of them. Choose another name."
        )


def with_inherited(learned: Lineage, before: Mapping[str, Lineage]) -> Lineage:
    """Return what rows have taught, together with what was known before."""
    every = [learned, *before.values()]
    return Lineage(
        tuple(sorted({row for each in every for row in each.rows})),
        tuple(sorted({document for each in every for document in each.documents})),
        tuple(dict.fromkeys(permissions for each in every for permissions in each.audience)),
    )


def _of_registered(reference: str) -> Lineage:
    registry, name, version = located(reference)
    card = registry.get(name, version).card
    return Lineage(card.rows, card.documents, registry.audience(name, int(version)))


def _run_of(text: str, runs: Runs) -> Path | None:
    """Return the folder of the run that a folder lies in; None for what lies in none."""
    place = os.path.realpath(Path(text.removeprefix("file:")).expanduser()) if text else ""
    every = os.path.realpath(runs.folder)
    if not os.path.isdir(place) or not place.startswith(every + os.sep):
        return None
    return runs.folder / Path(place).relative_to(every).parts[0]


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)
