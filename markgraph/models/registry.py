"""Keeps the models that were trained here: each version with its card, and which of them is in service.

What a person sees who looks below `${data_dir}/models`:

    law/1/card.json        what it was made of, and who may use it; never changed
    law/1/changes.json     what became of the documents that it learned from
    law/1/weights/         an adapter as PEFT saves it, or a whole model, with its manifest
    law/aliases.json       {"champion": 1, "challenger": 2}

`registered:NAME@champion`, `@challenger` or `@VERSION` refers to one; `registered:FOLDER#NAME@...` if the
registry is elsewhere than in the home (MARKGRAPH_HOME).
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from markgraph.environment import home
from markgraph.errors import UsageError, WeightsError
from markgraph.models import manifest, registry_watch
from markgraph.models.cards import Card, Change, Registered
from markgraph.models.registry_changes import CHANGES, add_changes, now, read_changes
from markgraph.models.registry_files import ADAPTER, NAMES, check_name, copy_served, read_card, reading, sync
from markgraph.retrieval.storage import storage_errors, write_whole
from markgraph.security.permissions import Permissions

log = logging.getLogger(__name__)

ALIASES = ("champion", "challenger")
"""Who is in service, and who is to be."""
SCHEME = "registered:"
_REFERENCE = re.compile(rf"(?:(?P<folder>.+)#)?(?P<name>{NAMES})(?:@(?P<which>[a-z]+|[1-9]\d*))?")
_DRAFT = ".adding"


@dataclass(frozen=True)
class Registry:
    """The registry below `folder`. Several processes may use it at once."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser().absolute())

    def add(self, name: str, model: Path, card: Card) -> int:
        """Register the adapter or the whole model in the folder `model`, and return its version.

        It is there as a whole or not at all. What a run has registered before is not registered once more.
        What starts from a registered model, or is taught or judged by one, inherits what that learned from.

        Raises:
            UsageError: `name` is none, or `model` holds no model.
            WeightsError: it holds code.
            StorageError: it can't be written.
        """
        check_name(name)
        with self._alone():
            for known in self.versions(name):
                if known.card.tenant != card.tenant:
                    raise UsageError(f"{name!r} is the name of another tenant's model. Choose another.")
                if known.card.run == card.run:
                    return known.version
            place = self.folder / name
            version = 1 + max((each.version for each in self.versions(name)), default=0)
            draft = self.folder / _DRAFT
            shutil.rmtree(draft, ignore_errors=True)  # left by a killed process; the lock is ours
            copy_served(model, draft / "weights")
            self._describe(draft, name, version, self._inherited(card))
            place.mkdir(exist_ok=True)
            draft.rename(place / str(version))
            sync(place)
            registry_watch.forget(self.folder, card.run)
        return version

    def names(self) -> list[str]:
        """Return the names of the models that were registered."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(each.name for each in found if (each / "1").is_dir())

    def versions(self, name: str) -> list[Registered]:
        """Return all versions of a model, the oldest first; none of a name that there isn't.

        Raises:
            StorageError: a card is damaged.
        """
        check_name(name)
        found = (int(each.parent.name) for each in (self.folder / name).glob("*/card.json"))
        return [read_card(self._of(name, version) / "card.json") for version in sorted(found)]

    def aliases(self, name: str) -> dict[str, int]:
        """Return which version each alias of a model stands for."""
        check_name(name)
        file = self.folder / name / "aliases.json"
        with reading(file):
            found: dict[str, int] = json.loads(file.read_text("utf-8")) if file.exists() else {}
        return found

    def get(self, name: str, which: str | int = "champion") -> Registered:
        """Return a version, by its number or its alias.

        Raises:
            UsageError: there is no such version.
            StorageError: its card is damaged.
        """
        aliases = self.aliases(name)
        version = aliases.get(str(which), int(which) if str(which).isdecimal() else 0)
        card = self._of(name, version) / "card.json"
        if not card.is_file():
            known = [*aliases, *(str(each.version) for each in self.versions(name))]
            # Not the names that there are: they may be another tenant's.
            told = f"Allowed: {', '.join(known)}." if known else "See `markgraph models list`."
            raise UsageError(f"There is no model {name}@{which} in {self.folder}. {told}")
        return read_card(card)

    def weights(self, name: str, which: str | int = "champion") -> Path:
        """Return the folder of a version's weights, whose files are as they were when it was registered.

        Raises:
            UsageError: there is no such version.
            WeightsError: it was retired, or its files have changed.
        """
        found = self.get(name, which)
        place = self._of(name, found.version) / "weights"
        if not place.is_dir():
            raise WeightsError(f"{name}@{found.version} was retired: its weights are gone. Name another.")
        manifest.check_manifest(place)
        if manifest.noted_sha256(place) != found.sha256:
            raise WeightsError(f"The weights in {place} are not those on its card. Register the model anew.")
        return place

    def alias(self, name: str, alias: str, version: int) -> None:
        """Let `alias` stand for a version.

        Raises:
            UsageError: there is no such alias or version.
        """
        if alias not in ALIASES:
            raise UsageError(f"There is no alias {alias!r}. Allowed: {', '.join(ALIASES)}.")
        with self._alone():
            self.weights(name, version)
            self._write_aliases(name, self.aliases(name) | {alias: version})

    def promote(self, name: str, version: int | None = None) -> Registered:
        """Put the challenger, or another version, into service, and return it.

        Raises:
            UsageError: there is no such version, or no challenger.
        """
        with self._alone():
            aliases = self.aliases(name)
            found = self.get(name, version or "challenger")
            self.weights(name, found.version)
            left = {key: each for key, each in aliases.items() if each != found.version}
            self._write_aliases(name, left | {"champion": found.version})
        return found

    def retire(self, name: str, version: int, *, in_service: bool = False) -> Registered:
        """Delete a version's weights; its card stays.

        Raises:
            UsageError: there is no such version, or it is in service, and `in_service` doesn't allow that.
            StorageError: they can't be deleted.
        """
        with self._alone():
            found = self.get(name, version)
            aliases, place = self.aliases(name), self._of(name, version) / "weights"
            if aliases.get("champion") == version and not in_service:
                raise UsageError(f"{name}@{version} is in service. Promote another version first.")
            self._write_aliases(name, {key: each for key, each in aliases.items() if each != version})
            if place.is_dir():
                shutil.rmtree(place)
        return found

    def changes(self, name: str, version: int) -> list[Change]:
        """Return what became of the documents that a version learned from; raises StorageError if damaged."""
        return read_changes(self._of(name, version) / CHANGES)

    def audience(self, name: str, version: int) -> tuple[Permissions, ...]:
        """Return who may use a version: whoever has all of these permissions, those given since included."""
        since = (change.permissions for change in self.changes(name, version))
        return (*self.get(name, version).card.audience, *(each for each in since if each is not None))

    def note(self, tenant: str, changed: Mapping[str, Permissions | None]) -> None:
        """Note at all that learned from them that documents were removed (None), or permitted to others."""
        registry_watch.note(self.folder, tenant, changed)
        for known in self._of_tenant(tenant) if changed else ():
            if learned := changed.keys() & set(known.card.documents):
                self._note(known, {each: changed[each] for each in sorted(learned)})

    def note_shredded(self, tenant: str) -> None:
        """Note at all that learned from a tenant's documents that all of these are gone."""
        registry_watch.note(self.folder, tenant, None)
        for known in self._of_tenant(tenant):
            self._note(known, dict.fromkeys(known.card.documents))

    def _of_tenant(self, tenant: str) -> list[Registered]:
        found = (known for name in self.names() for known in self.versions(name))
        return [known for known in found if known.card.tenant == tenant]

    def _note(self, known: Registered, changed: Mapping[str, Permissions | None]) -> None:
        with self._alone():
            add_changes(self._of(known.name, known.version) / CHANGES, changed)

    def _describe(self, draft: Path, name: str, version: int, card: Card) -> None:
        """Write the card, and what became of documents while the model learned from them."""
        added = Registered(
            name=name,
            version=version,
            kind="adapter" if (draft / "weights" / ADAPTER).exists() else "model",
            added=now(),
            sha256=manifest.combined(manifest.hashes(draft / "weights")),
            card=card,
        )
        write_whole(draft / "card.json", added.model_dump_json(indent=1))
        if since := registry_watch.noted(self.folder, card.run, card.tenant, set(card.documents)):
            add_changes(draft / CHANGES, since)

    def _inherited(self, card: Card) -> Card:
        documents, audience = set(card.documents), dict.fromkeys(card.audience)
        for source in (*([card.base.source] if card.base else ()), *card.models):
            if source.startswith(SCHEME):
                registry, name, which = located(source)
                known = registry.get(name, which)
                documents.update(known.card.documents)
                audience |= dict.fromkeys(registry.audience(name, known.version))
        return card.model_copy(update={"documents": tuple(sorted(documents)), "audience": tuple(audience)})

    def _write_aliases(self, name: str, aliases: Mapping[str, int]) -> None:
        write_whole(self.folder / name / "aliases.json", json.dumps(aliases, indent=1))

    def _of(self, name: str, version: int) -> Path:
        return self.folder / name / str(version)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with storage_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", is_singleton=True):
                yield


def located(reference: str) -> tuple[Registry, str, str]:
    """Return the registry that a `registered:` reference means, the model's name, and which version.

    Raises:
        WeightsError: it is malformed.
    """
    match = _REFERENCE.fullmatch(reference.removeprefix(SCHEME))
    if not match or not reference.startswith(SCHEME):
        raise WeightsError(
            f"Not a registered model: {reference!r}. Allowed: registered:NAME, registered:NAME@ALIAS or "
            f"registered:NAME@VERSION, with {' or '.join(ALIASES)} as alias. Correct the reference."
        )
    folder = match["folder"]
    registry = Registry(Path(folder) if folder else home() / "models")
    return registry, match["name"], match["which"] or ALIASES[0]


def pinned(reference: str) -> str:
    """Return a reference that goes on meaning the same version when another is promoted.

    Raises:
        WeightsError: it means none.
    """
    if not reference.startswith(SCHEME):
        return reference
    registry, name, which = located(reference)
    folder = f"{registry.folder}#" if "#" in reference else ""
    return f"{SCHEME}{folder}{name}@{_found(registry, name, which).version}"


def resolved(reference: str) -> Path:
    """Return the weights that a `registered:` reference means, as they were registered.

    Raises:
        WeightsError: there are none, or they have changed.
    """
    registry, name, which = located(reference)
    found = _found(registry, name, which)
    if gone := [each.document for each in registry.changes(name, found.version) if each.what == "removed"]:
        log.warning(
            "%s@%s learned from documents that were removed since: %s. Train it anew without them.",
            *(name, found.version, ", ".join(gone[:5])),
        )
    return registry.weights(name, found.version)


def _found(registry: Registry, name: str, which: str) -> Registered:
    try:
        return registry.get(name, which)
    except UsageError as error:
        raise WeightsError(str(error)) from error
