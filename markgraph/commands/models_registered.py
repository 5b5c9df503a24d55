"""`markgraph models show|promote|retire NAME`: models that were trained here."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from markgraph.build import make, make_service
from markgraph.commands.checks import check_number
from markgraph.commands.guarded import journal_of
from markgraph.commands.printing import print_facts, print_json
from markgraph.commands.terminal import printable
from markgraph.errors import UsageError
from markgraph.models.cards import Change, Registered, may_use
from markgraph.models.catalog import Listed
from markgraph.models.registry import SCHEME, Registry, located, pinned
from markgraph.security.caller import Caller
from markgraph.security.doors import Door
from markgraph.security.permissions import Permissions
from markgraph.security.policy import Need, Policy, Resource

NEEDS = {"show": "models:use", "promote": "models:register", "retire": "models:register"}
SHOWN = 20
"""Documents that are named for people; `output=json` has all."""


def run(config: DictConfig, action: str, name: str) -> int:
    """Do what the action says to the model of that name, and return 0.

    Raises:
        DeniedError: the caller may not do it.
        UsageError: there is no such model, or nothing of the kind can be done to it.
    """
    if action not in NEEDS or not name:
        raise UsageError(f"models {action} {name}: got no NAME that it is about. Allowed: {_allowed()}.")
    check_number(config, "version", 1, 10**9, optional=True)
    door: Door = make(config, "auth")
    journal = journal_of(config, "models", door.caller)
    journal.require(Need(NEEDS[action], Resource("model", name)))
    registry = registry_of(config)
    if not _own(registry, name, door.caller):  # another tenant's is none, too
        raise UsageError(f"There is no model {name}. See `markgraph models list`.")
    if action == "show":
        found = _chosen(config, registry, name)
        usable = may_use(door.caller, registry.audience(name, found.version))
        _show(config, registry, found, name_documents=usable)
        return 0
    if action == "promote":
        done = registry.promote(name, config.version)
    elif config.version is None:
        raise UsageError(f"Which version of {name}? Give version=N; `markgraph models list` names them.")
    else:
        done = registry.retire(name, config.version)
    _say(config, {"model": f"{name}@{done.version}", action: True, "aliases": registry.aliases(name)})
    return 0


def registry_of(config: DictConfig) -> Registry:
    """Return the registry in the data folder."""
    return Registry(Path(config.data_dir) / "models")


def listed(config: DictConfig) -> list[Listed]:
    """Return every version that the caller's tenant has registered, as a line of the list."""
    door: Door = make(config, "auth")
    policy: Policy = make_service(config, "policy")
    registry, found = registry_of(config), []
    for name in registry.names():
        if not policy.check(door.caller, NEEDS["show"], Resource("model", name)).allowed:
            continue
        aliases = {version: alias for alias, version in registry.aliases(name).items()}
        for each in _own(registry, name, door.caller):
            reference = f"{SCHEME}{name}@{each.version}"
            place = registry.folder / name / str(each.version) / "weights"
            about = ", ".join(
                filter(None, (aliases.get(each.version), _about(each), _removed(registry, each)))
            )
            here = place if place.is_dir() else None
            found.append(Listed(f"{name}@{each.version}", about, (), reference, here))
    return found


def usable(config: DictConfig, weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings of weights with what was registered pinned, if the caller may use it.

    Raises:
        DeniedError: they may not.
        WeightsError: it is not there.
    """
    from markgraph.models.learned import require_usable

    sources = {key: pinned(weights[key]) for key in ("source", "adapter") if weights.get(key)}
    names = [each for each in sources.values() if each.startswith(SCHEME)]
    if names:
        door: Door = make(config, "auth")
        journal = journal_of(config, "models", door.caller)
        for each in names:
            journal.require(Need("models:use", Resource("model", located(each)[1])))
        require_usable(door.caller, names)
    return {**weights, **sources}


def _own(registry: Registry, name: str, caller: Caller) -> list[Registered]:
    return [each for each in registry.versions(name) if each.card.tenant == caller.tenant]


def _chosen(config: DictConfig, registry: Registry, name: str) -> Registered:
    """Return the version that is asked for; otherwise the champion, or else the last."""
    if config.version is not None or "champion" in registry.aliases(name):
        return registry.get(name, config.version or "champion")
    versions = registry.versions(name)
    return versions[-1] if versions else registry.get(name)


def _show(config: DictConfig, registry: Registry, found: Registered, *, name_documents: bool) -> None:
    """Print a card, and what became of its documents; who may not read these isn't told their names."""
    changes = registry.changes(found.name, found.version)
    card = found.card.model_dump(mode="json", exclude={"rows", "documents"})
    aliases = registry.aliases(found.name).items()
    told: dict[str, Any] = {
        "model": f"{found.name}@{found.version}",
        "aliases": [alias for alias, version in aliases if version == found.version],
        "kind": found.kind,
        "added": found.added,
        "sha256": found.sha256,
        **card,
        "rows": len(found.card.rows),
        "rows_sha256": found.card.rows_sha256,
        "documents": list(found.card.documents) if name_documents else len(found.card.documents),
        "learned_from_deleted": _told(changes, "removed", names=name_documents),
        "permitted_since": _told(changes, "permitted", names=name_documents),
    }
    if config.output == "json":
        print_json(told)
    else:
        readable = told | _in_words(told, registry.audience(found.name, found.version))
        print_facts({key: printable(str(value)) if value else "" for key, value in readable.items()})


def _in_words(told: Mapping[str, Any], audience: Iterable[Permissions]) -> dict[str, str]:
    """Return what is a list or more of what is shown, for people."""
    named = told["documents"] if isinstance(told["documents"], list) else []
    more = [f"{len(named) - SHOWN} more"] if len(named) > SHOWN else []
    changes = {
        key: "; ".join(f"{each['document']} ({each['time']})" for each in told[key][:SHOWN])
        for key in ("learned_from_deleted", "permitted_since")
    }
    return {
        "aliases": ", ".join(told["aliases"]),
        "base": told["base"]["source"] if told["base"] else "",
        "audience": "; ".join(_reads(each) for each in audience) or "nobody",
        "documents": ", ".join([*named[:SHOWN], *more]) if named else str(told["documents"]),
        **changes,
    }


def _told(changes: list[Change], what: str, *, names: bool) -> list[dict[str, Any]]:
    return [
        {"document": each.document if names else "a document", "time": each.time}
        for each in changes
        if each.what == what
    ]


def _reads(each: Permissions) -> str:
    return f"{' or '.join(each.readers) or 'nobody'} (tenant {each.tenant}, level {each.classification})"


def _about(each: Registered) -> str:
    over = f" over {each.card.base.name}" if each.card.base else ""
    return f"{each.kind}, {each.card.method}{over}, run {each.card.run}"


def _removed(registry: Registry, each: Registered) -> str:
    gone = [change for change in registry.changes(each.name, each.version) if change.what == "removed"]
    return f"learned from {len(gone)} documents that were removed" if gone else ""


def _say(config: DictConfig, done: dict[str, Any]) -> None:
    if config.output == "json":
        print_json(done)
    else:
        print_facts(done)


def _allowed() -> str:
    return ", ".join(f"{action} NAME" for action in NEEDS)
