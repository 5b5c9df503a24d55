"""What became of documents since a model learned from them, as the registry notes it beside the card."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from markgraph.models.cards import Change
from markgraph.models.registry_files import reading
from markgraph.retrieval.storage import write_whole
from markgraph.security.permissions import Permissions

CHANGES = "changes.json"


def read_changes(file: Path) -> list[Change]:
    """Return the last change of each kind, by document.

    Raises:
        StorageError: the file is damaged.
    """
    with reading(file):
        noted = json.loads(file.read_text("utf-8")) if file.exists() else []
        return [Change.model_validate_json(json.dumps(each)) for each in noted]


def add_changes(file: Path, changed: Mapping[str, Permissions | None]) -> None:
    """Note which documents were removed (None), or who may read them from now on."""
    latest = {(each.document, each.what): each for each in read_changes(file)}
    for each, permissions in changed.items():
        change = Change(
            document=each,
            what="removed" if permissions is None else "permitted",
            time=now(),
            permissions=permissions,
        )
        latest[each, change.what] = change
    told = [each.model_dump(mode="json") for each in latest.values()]
    write_whole(file, json.dumps(told, indent=1))


def now() -> str:
    """Return the time, UTC, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
