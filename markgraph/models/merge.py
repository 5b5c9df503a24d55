"""Adds a LoRA adapter (Hu et al. 2021) to the weights of its base, once: W + s·BA serves as fast as W.

Any architecture: a module's matrix is found by its name. What is merged is kept in the cache, beside at most
`KEPT - 1` others.

Does NOT include: what `markgraph.engines.native.adapters` leaves out, and adapters of embeddings.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

from markgraph.errors import WeightsError
from markgraph.models.manifest import NAME, names
from markgraph.models.source import cache_folder, digest, resolve
from markgraph.models.weights import filled_once, safetensors_folder

KEPT = 4
"""Merged models that the cache holds: each is as large as its base."""
LOADING = 600
"""Seconds that it may take to load one, so that more are held for as long."""
ADAPTER = "adapter_config.json"
_NOTE = ".of"


def weights_with(source: str, sha256: str | None = None, adapter: str | None = None) -> Path:
    """Return the weights of a reference, with the adapter of another reference merged into them if given.

    Raises:
        UsageError: the adapter is of a kind that can't be merged.
        WeightsError: the references name no such weights, or they don't belong together.
    """
    weights = resolve(source, sha256)
    return weights if adapter is None else merged(safetensors_folder(weights), resolve(adapter))


def merged(base: Path, adapter: Path) -> Path:
    """Return the folder of the model in `base` with the LoRA in `adapter` merged into it.

    The matrices that it changes are float32 there, whatever they were: in bfloat16 most of a small change
    would be rounded away.

    Args:
        base: `config.json`, a tokenizer and safetensors.
        adapter: as PEFT saves it.

    Raises:
        UsageError: it is of a kind that can't be merged.
        WeightsError: it is damaged, or made for another base; or there is no room.
    """
    shelf = cache_folder() / "merged"
    target = shelf / f"{base.name}-{_key(base, adapter)}"
    with contextlib.suppress(OSError):  # a cache that can only be read
        shelf.mkdir(parents=True, exist_ok=True)
        _note(target).write_text(f"{os.path.realpath(base)}\n{os.path.realpath(adapter)}\n", "utf-8")
    done = filled_once(target, lambda draft: _merge(base, adapter, draft), f"merge {adapter} into {base}")
    with contextlib.suppress(OSError):  # a cache that can only be read
        os.utime(done)
        _make_room(shelf, done)
    return done


def forget(folder: Path) -> None:
    """Delete what models and adapters in or below `folder` were merged into; raises OSError if it can't."""
    gone = Path(os.path.realpath(folder))
    for note in (cache_folder() / "merged").glob(f"*{_NOTE}"):
        if any(Path(each).is_relative_to(gone) for each in note.read_text("utf-8").splitlines()):
            _delete(note.with_name(note.name.removesuffix(_NOTE)))


def _note(target: Path) -> Path:
    """Return the file that says which folders a merged model was made of."""
    return target.with_name(f"{target.name}{_NOTE}")


def _delete(merged: Path) -> None:
    for each in (merged, Path(f"{merged}.converting")):  # the latter is what a kill left
        if each.is_dir():
            shutil.rmtree(each)
    for each in (Path(f"{merged}.lock"), _note(merged)):
        each.unlink(missing_ok=True)


def _merge(base: Path, adapter: Path, draft: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    from markgraph.engines.native.adapters import read_adapter

    _, scale, factors = read_adapter(adapter)
    left = dict(factors)
    for name in names(base):
        file, copy = base / name, draft / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".safetensors":
            shutil.copyfile(file, copy)
            continue
        with safe_open(file, framework="pt") as opened:
            # As they lie in their file: what does not change takes no memory.
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            about = opened.metadata()
        for module in [each for each in left if f"{each}.weight" in tensors]:
            key = f"{module}.weight"
            tensors[key] = _added(tensors[key], left.pop(module), scale, f"{module} in {adapter}")
        save_file(tensors, copy, metadata=about)
    if left:
        raise WeightsError(
            f"The adapter in {adapter} has weights for {', '.join(sorted(left))}, which the model in {base} "
            "lacks. It is of another base model."
        )


def _added(weight: Any, factors: tuple[Any, Any], scale: float, what: str) -> Any:
    """Return W + s·BA, float32 (n, k)."""
    down, up = factors
    if weight.shape != (up.shape[0], down.shape[1]) or down.shape[0] != up.shape[1]:
        raise WeightsError(
            f"The adapter of {what} is {tuple(up.shape)} times {tuple(down.shape)}. Allowed: a product of "
            f"the shape {tuple(weight.shape)}. It is of another base model."
        )
    return weight.float() + scale * (up @ down)


def _key(base: Path, adapter: Path) -> str:
    """Return what changes when the files of either do; those of the base, which is large, aren't read."""
    stats: Mapping[str, Any] = {name: (base / name).stat() for name in names(base)}
    told = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items() if name != NAME]
    return sha256(f"{base.resolve()} {told} {digest(adapter)}".encode()).hexdigest()[:16]


def _make_room(shelf: Path, used: Path) -> None:
    """Delete what was used least recently, but nothing that another process may just be loading."""
    recent = time() - LOADING
    there = [each for each in shelf.iterdir() if each.is_dir() and each.suffix != ".converting"]
    for old in sorted(there, key=lambda each: each.stat().st_mtime_ns, reverse=True)[KEPT:]:
        if old != used and old.stat().st_mtime < recent:
            with contextlib.suppress(OSError):
                _delete(old)
