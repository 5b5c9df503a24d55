"""What becomes of documents while a model learns from them, and has no card yet that would name them.

Each training under way has a file below the registry, to which every change of a document is added.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter

from markgraph.models.registry_files import reading
from markgraph.retrieval.storage import storage_errors
from markgraph.security.permissions import Permissions

FOLDER = ".learning"
_PERMISSIONS = TypeAdapter(Permissions)


def watch(registry: Path, run: str) -> None:
    """Add all that changes from now on to what `noted` returns for a run."""
    file = _file(registry, run)
    with storage_errors(registry):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch()


def note(registry: Path, tenant: str, changed: Mapping[str, Permissions | None] | None) -> None:
    """Note documents that were removed (None), or permitted to others; None: all of the tenant's are gone."""
    if not (registry / FOLDER).is_dir():
        return
    whole = [{"tenant": tenant, "all": True}]
    each = [] if changed is None else [_line(tenant, name, given) for name, given in changed.items()]
    told = "".join(json.dumps(line) + "\n" for line in (whole if changed is None else each))
    # The registry's own lock: what is not added here in time finds the card there.
    with storage_errors(registry), FileLock(registry / ".lock", is_singleton=True):
        for file in sorted((registry / FOLDER).glob("*.jsonl")):
            with file.open("a", encoding="utf-8") as lines:
                lines.write(told)
                lines.flush()
                os.fsync(lines.fileno())


def noted(registry: Path, run: str, tenant: str, documents: Collection[str]) -> dict[str, Permissions | None]:
    """Return what became of some documents since a run is watched, each as it is now.

    Raises:
        StorageError: the file is damaged.
    """
    file, found = _file(registry, run), dict[str, Permissions | None]()
    with reading(file):
        for line in file.read_text("utf-8").splitlines() if file.exists() else ():
            told = json.loads(line)
            if told["tenant"] != tenant:
                continue
            if "all" in told:
                found |= dict.fromkeys(documents)
            elif told["document"] in documents:
                given = told["permissions"]
                found[told["document"]] = None if given is None else _PERMISSIONS.validate_python(given)
    return found


def forget(registry: Path, run: str) -> None:
    """Watch no longer for a run."""
    _file(registry, run).unlink(missing_ok=True)


def _line(tenant: str, document: str, given: Permissions | None) -> dict[str, object]:
    permissions = None if given is None else _PERMISSIONS.dump_python(given, mode="json")
    return {"tenant": tenant, "document": document, "permissions": permissions}


def _file(registry: Path, run: str) -> Path:
    return registry / FOLDER / f"{run}.jsonl"
