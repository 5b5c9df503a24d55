"""Says which files a model's folder has to hold, each with its SHA-256.

A folder that MARK fetched has that in the record beside it, one that a person brought or that MARK wrote in a
file of its own, NAME. What has changed since is found by size and times, which nobody but root can set back
(the time of the last change of a file's own entry among them), and then by the bytes.

Does NOT vouch for itself: whoever may write to a folder may write its manifest, too. A `sha256` in the config
is out of their reach.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

from markgraph.errors import WeightsError

NAME = "markgraph-manifest.json"
_RUNS = frozenset(
    (
        *(".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".js", ".jar", ".ipynb"),
        *(".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".h5", ".keras"),
    )
)
"""Suffixes of code, and of weights that run code when they load."""
_PICKLED = ("pytorch_model", "adapter_model", "training_args", "optimizer", "scheduler", "rng_state")
"""What begins the name of a pickle that ends in `.bin`; OpenVINO's own files end like that, too."""


class Noted(TypedDict):
    """What was found of a file."""

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int


Files = Mapping[str, Noted]
"""What was found of each file of a folder, by its relative path; of a single file, by `.`."""


def names(path: Path) -> list[str]:
    """Return the files in the folder `path`, sorted, without a manifest; `.` for a file."""
    if path.is_file():
        return ["."]
    found = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return sorted(name for name in found if name != NAME)


def hashes(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in `path`.

    Raises:
        OSError: one cannot be read.
    """
    return {name: file_sha256(path / name) for name in names(path)}


def combined(found: Mapping[str, str]) -> str:
    """Return one SHA-256 for the files with these hashes, by relative path; `.` is a file by itself."""
    if found.keys() == {"."}:
        return found["."]
    lines = sorted(f"{sha256}  {name}\n" for name, sha256 in found.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of `file`, read once in a process as long as it does not change.

    Raises:
        OSError: it cannot be read.
    """
    return _sha256(str(file), *_stamp(file))


def noted(path: Path, found: Mapping[str, str]) -> dict[str, Noted]:
    """Return what is to be kept of the files in `path`, whose hashes were `found`."""
    stamps = {name: _stamp(path / name) for name in found}
    return {
        name: Noted(sha256=sha256, size=stamps[name][0], mtime_ns=stamps[name][1], ctime_ns=stamps[name][2])
        for name, sha256 in found.items()
    }


def unchanged(path: Path, files: Files) -> bool:
    """Tell from sizes and times, without reading them, whether the files are as they were noted."""
    try:
        found = {name: _stamp(path / name) for name in names(path)}
    except OSError:
        return False
    return found == {name: (each["size"], each["mtime_ns"], each["ctime_ns"]) for name, each in files.items()}


def write_manifest(folder: Path) -> Path:
    """Write the manifest of `folder` as it is now, and return where it is.

    Raises:
        WeightsError: it holds no file, or one that runs code when it loads.
        OSError: it cannot be read or written.
    """
    refuse_code(folder)
    place, draft = folder / NAME, folder / f"{NAME}.part"
    draft.unlink(missing_ok=True)
    files = noted(folder, hashes(folder))
    if not files:
        raise WeightsError(f"{folder} holds no file that a manifest could vouch for. Name a model's folder.")
    draft.write_text(json.dumps({"files": files}, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, place)
    return place


def check_manifest(folder: Path, *, by_bytes: bool = False) -> None:
    """Refuse a folder that is not as its manifest says; one without a manifest may hold anything.

    Args:
        folder: where the manifest is.
        by_bytes: read the files also where sizes and times are as they were.

    Raises:
        WeightsError: a file has changed, is missing, or is one too many; or the manifest is damaged.
    """
    place = folder / NAME
    if not place.is_file():
        return
    try:
        files: Files = json.loads(place.read_text(encoding="utf-8"))["files"]
        wrong = [] if not by_bytes and unchanged(folder, files) else differences(folder, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{place} could not be read: {error!r}. Write it again. {_HOW}") from error
    if wrong:
        raise WeightsError(
            f"The files in {folder} are not what {NAME} says: {', '.join(wrong[:5])}. Allowed: the very "
            f"files. Fetch them again; or, if you know why they differ, write it anew. {_HOW}"
        )


def noted_sha256(folder: Path) -> str:
    """Return what `combined` gives for the files that the manifest of `folder` names; they aren't read.

    Raises:
        WeightsError: there is no manifest, or it is damaged.
    """
    try:
        files: Files = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
        return combined({name: each["sha256"] for name, each in files.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder / NAME} could not be read: {error!r}. Fetch the files again.") from error


_HOW = "`markgraph models manifest folder=DIR` does."


def differences(path: Path, files: Files) -> list[str]:
    """Return which files differ from what was noted, and how.

    Raises:
        OSError: one cannot be read.
    """
    found = hashes(path)
    return [
        f"{name} {'is missing' if name not in found else 'is not in it' if name not in files else 'differs'}"
        for name in sorted(found.keys() | files.keys())
        if name not in found or name not in files or found[name] != files[name]["sha256"]
    ]


def refuse_code(folder: Path) -> None:
    """Refuse a folder with a file that runs code when it loads: weights are safetensors or GGUF.

    Raises:
        WeightsError: naming the file.
    """
    for name in names(folder):
        file = Path(name)
        pickled = file.suffix.lower() == ".bin" and file.name.startswith(_PICKLED)
        if pickled or file.suffix.lower() in _RUNS:
            raise WeightsError(
                f"{folder} holds {name}, which runs code when it loads. Allowed: safetensors, GGUF, and the "
                "JSON and text of a tokenizer. Move that file elsewhere, if you trust the rest."
            )


def _stamp(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=4096)
def _sha256(file: str, size: int, mtime_ns: int, ctime_ns: int) -> str:  # noqa: ARG001 -- what it is kept by
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
