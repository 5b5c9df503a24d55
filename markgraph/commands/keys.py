"""`markgraph keys`: the keys that seal what is kept on disk."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from markgraph.build import make, make_services
from markgraph.checkpoints import SealedCheckpointer
from markgraph.checkpoints.reseal import reseal as reseal_threads
from markgraph.citations.index import relink
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.guarded import check_tenant, journal_of
from markgraph.commands.training_runs import all_of, delete, folder_of
from markgraph.commands.training_runs import reseal as reseal_rows
from markgraph.errors import ConfigError, DeniedError, UsageError
from markgraph.ingestion.lock import alone
from markgraph.models.registry import Registry
from markgraph.models.shred import shred as shred_models
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.security.doors import Door, LocalDoor
from markgraph.security.policy import Need, Resource
from markgraph.security.sealing.keyring import Keyring, Names
from markgraph.security.sealing.masters import Masters

LEDGER = "ledger.sqlite"
EVERYBODYS = ("reseal", "retire")
"""Actions about what all tenants share."""


def run(config: DictConfig) -> int:
    """Do what the action says, print what was done, and return 0."""
    check_choice(config, "action", tuple(ACTIONS))
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "yes", (None, True, False))
    door: Door = make(config, "auth")
    about = config.action if config.tenant is None else f"{config.action}:{config.tenant}"
    if config.tenant is not None:
        check_tenant(door, str(config.tenant))
    journal_of(config, "keys", door.caller).require(Need("keys:manage", Resource("keys", about)))
    _check_scope(config, door)
    keyring = make(config, "seal")
    if not isinstance(keyring, Keyring):
        raise ConfigError("There are no keys with seal=none. Leave that out, or say seal=keyring.")
    done = ACTIONS[config.action](config, keyring)
    if not isinstance(door, LocalDoor):
        done = _of_tenant(done, door.caller.tenant)
    if config.output == "json":
        print(json.dumps(done, ensure_ascii=False))  # noqa: T201
    else:
        for name, value in done.items():
            print(f"{name:12} {_shown(value)}")  # noqa: T201
    return 0


def _check_scope(config: DictConfig, door: Door) -> None:
    """Leave to whoever owns this machine's files what is about the keys of all tenants.

    Raises:
        DeniedError: somebody else asks for that.
        UsageError: the action knows no single tenant.
    """
    if config.tenant is not None and config.action in EVERYBODYS:
        raise UsageError(f"`keys {config.action}` is about all tenants. Leave out tenant={config.tenant}.")
    if isinstance(door, LocalDoor) or config.action not in ("rotate", *EVERYBODYS) or config.tenant:
        return
    who, tenant = door.caller.subject, door.caller.tenant
    mine = "" if config.action in EVERYBODYS else f"keys rotate tenant={tenant}; for all tenants "
    raise DeniedError(
        f"{who!r} is of tenant {tenant!r}, and `keys {config.action}` is about the keys of all. "
        f"Allowed: {mine}auth=none, at the machine itself."
    )


def _of_tenant(done: dict[str, Any], tenant: str) -> dict[str, Any]:
    """Return what was done without the names of other tenants."""
    tenants = {name: held for name, held in done.get("tenants", {}).items() if name == tenant}
    own = {"tenants": tenants, "shredded": [name for name in done.get("shredded", []) if name == tenant]}
    return {key: own.get(key, value) for key, value in done.items()}


def list_keys(_config: DictConfig, keyring: Keyring) -> dict[str, Any]:
    """Return what there is: how much each master of the keyring wraps, and which it has lost."""
    masters = Masters(keyring.file).read() if keyring.file.exists() else None
    names = keyring.names() if keyring.path.exists() else Names({}, {}, [])
    return {
        "keyring": str(keyring.file),
        "masters": None if masters is None else {kid: names.masters.get(kid, 0) for kid in masters},
        "lost": [kid for kid in names.masters if kid not in (masters or {})],
        "tenants": names.tenants,
        "shredded": names.shredded,
    }


def rotate(config: DictConfig, keyring: Keyring) -> dict[str, Any]:
    """Make a master and new keys, or one tenant's new key, and say what is left to do."""
    if config.tenant is not None:
        number = keyring.rotate_tenant(str(config.tenant))
        _hint("What was sealed before is under its old key until `markgraph keys reseal`.")
        return {"tenants": {str(config.tenant): number}}
    master = keyring.rotate()
    tenants = keyring.names().tenants
    if tenants:
        _hint("What was sealed before is under old keys still. Run `markgraph keys reseal`, then `retire`.")
    else:
        _hint(f"Keep a copy of {keyring.file} elsewhere: without it nothing that is sealed opens.")
    return {"master": master, "tenants": tenants}


def reseal(config: DictConfig, keyring: Keyring) -> dict[str, Any]:
    """Seal a collection, the threads, the feedback and the rows of trainings anew.

    Raises:
        SealError: there is no keyring.
        UsageError: there is no such collection, or a training is in progress.
    """
    Masters(keyring.file).read()
    folder = Path(config.data_dir).expanduser() / config.collection
    _check_collection(folder)
    # The keyring of all of them, so that each sees what another does.
    names = ("index", "ledger", "citations", "checkpoint", "ratings")
    index, ledger, citations, threads, ratings = make_services(config, *names, seal=keyring)
    done = {"documents": 0, "chunks": 0, "threads": 0, "feedback": 0, "rows": 0}
    with tqdm(unit="row", desc="sealing", disable=None, file=sys.stderr) as bar:
        with alone(folder):
            done["documents"] = ledger.reseal(bar.update)
            parts: list[Any] = [*index.parts] if isinstance(index, HybridIndex) else [index]
            done["chunks"] = max(part.reseal(bar.update) for part in parts)
            if citations is not None and len(citations):
                relink(index, citations)
        if isinstance(threads, SealedCheckpointer):
            done["threads"] = reseal_threads(threads, bar.update)
        if ratings is not None:
            done["feedback"] = ratings.reseal(bar.update)
        done["rows"] = reseal_rows(folder_of(config), keyring, bar.update)
    if others := [name for name in _collections(folder.parent) if name != folder.name]:
        _hint(f"Other collections are as they were: {', '.join(others)}. Reseal each with collection=NAME.")
    return done


def _check_collection(folder: Path) -> None:
    there = _collections(folder.parent)
    if folder.name not in there:
        raise UsageError(
            f"There is no collection {folder.name!r} in {folder.parent}. Collections that are: "
            f"{', '.join(there) or 'none'}. Name one with collection=NAME."
        )


def _collections(home: Path) -> list[str]:
    return sorted(each.parent.name for each in home.glob(f"*/{LEDGER}"))


def retire(_config: DictConfig, keyring: Keyring) -> dict[str, Any]:
    """Forget masters that wrap nothing."""
    return {"retired": keyring.retire(), "masters": keyring.names().masters}


def shred(config: DictConfig, keyring: Keyring) -> dict[str, Any]:
    """Delete the keys of a tenant, if that is meant, with its training runs and the weights of its models.

    Raises:
        UsageError: it is not meant, or a run is in progress; nothing is deleted then.
    """
    if config.tenant is None:
        raise UsageError("Whose keys? Give tenant=NAME; `markgraph keys list` names those that have any.")
    tenant = str(config.tenant)
    if not _is_meant(tenant, config.yes):
        raise UsageError(
            f"Shredding can't be undone: everything of tenant {tenant!r} is lost for good, copies included. "
            "Add yes=true if that is meant."
        )
    with all_of(tenant, folder_of(config)) as runs:
        if tenant not in keyring.names().shredded:  # killed before the rest was done
            keyring.shred(tenant)
        models, deleted = shred_models(Registry(Path(config.data_dir) / "models"), tenant), delete(runs)
    if models or deleted:
        _hint("Figures, settings and reports of the runs are left where a tracker keeps them.")
    return {"shredded": keyring.names().shredded, "models": models, "runs": deleted}


ACTIONS: Mapping[str, Callable[[DictConfig, Keyring], dict[str, Any]]] = {
    "list": list_keys,
    "rotate": rotate,
    "reseal": reseal,
    "retire": retire,
    "shred": shred,
}


def _is_meant(tenant: str, yes: bool | None) -> bool:
    if yes is not None or sys.stdin is None or not sys.stdin.isatty():
        return yes is True
    print(f"Everything of tenant {tenant!r} will be lost for good. Type its name: ", end="", file=sys.stderr)  # noqa: T201
    return input() == tenant


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return ", ".join(f"{name or '(none)'}: {number}" for name, number in value.items()) or "none"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def _hint(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
