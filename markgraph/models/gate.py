"""The gate: a number format serves where it was compared with the unquantised model, and is near enough.

A comparison runs in a process of its own: its memory is given back, and instructions that this processor
lacks end it alone. What it found is remembered for the model, the mode, the machine, and this engine's code.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from safetensors import SafetensorError, safe_open

from markgraph.errors import QualityError, TooLargeError, WeightsError
from markgraph.models.machine import memory, processor, usual_threads
from markgraph.models.quality import CHUNK, Bounds, Quality, Recorded, compare_formats
from markgraph.models.source import cache_folder
from markgraph.models.tiers import require_room

log = logging.getLogger(__name__)

WIDTHS = (1, 8, CHUNK)
"""Tokens at once: an answer, a few answers or guesses together, and a prompt take different forms."""
TOKENS = 512
"""As much of the text as is read: enough for the bounds, a few seconds for a small model."""
EXACT, QUANTISED = 6, 3
"""Bytes that a parameter may take, unquantised and otherwise, with a tied embedding's two layouts."""
BOUNDS: Mapping[str, Bounds] = {"small": Bounds(kl=0.05, top1=0.88)}
"""What is tolerated of a mode; `Bounds()` of others."""


def compared(folder: Path, mode: str, threads: int | None = None) -> dict[int, Quality]:
    """Return what `mode` costs the model in `folder`, by width; measured at the first call on this machine.

    Args:
        threads: how many compute; None for the usual number. Which forms serve depends on it.

    Raises:
        QualityError: the comparison crashed.
        TooLargeError: there is no room for the unquantised model.
        WeightsError: the files are damaged.
    """
    threads = threads or usual_threads()
    if known := remembered(folder, mode, threads):
        return known
    with _alone(note_of(folder, mode, threads)):  # another process may be measuring the same
        if known := remembered(folder, mode, threads):
            return known
        log.info("Comparing %s in mode %s with the unquantised model, once.", folder.name, mode)
        found = _measured_apart(folder, mode, threads)
        remember(folder, mode, found, threads)
    return found


@contextmanager
def _alone(note: Path) -> Iterator[None]:
    """Let one process at a time into the block; all, where the cache can't be written to."""
    lock = FileLock(f"{note}.lock")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        log.warning("%s can't be written to: %s.", note.parent, error.strerror)
    try:
        yield
    finally:
        lock.release()


def bounds_of(mode: str) -> Bounds:
    """Return what is tolerated of `mode` unless somebody says otherwise."""
    return BOUNDS.get(mode, Bounds())


def remembered(folder: Path, mode: str, threads: int | None = None) -> dict[int, Quality] | None:
    """Return what was found before for this model, mode and machine; None if nothing was."""
    try:
        noted: dict[str, Any] = json.loads(note_of(folder, mode, threads).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return {int(width): Quality(**quality) for width, quality in noted["widths"].items()}


def remember(folder: Path, mode: str, found: Mapping[int, Quality], threads: int | None = None) -> None:
    """Keep what was found of a mode, if the cache can be written to."""
    note = note_of(folder, mode, threads)
    widths = {str(width): asdict(quality) for width, quality in found.items()}
    draft = note.with_suffix(".part")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(
            json.dumps({"model": str(folder), "mode": mode, "widths": widths}, indent=2), "utf-8"
        )
        draft.replace(note)
    except OSError as error:
        log.warning(
            "What was measured of %s can't be remembered: %s. Set MARKGRAPH_CACHE to a folder that can be "
            "written to.",
            folder.name,
            error,
        )


def measure(folder: Path, mode: str, threads: int) -> dict[int, Quality]:
    """Compare `mode` with the unquantised model, in this process; the two are never in memory together."""
    import torch

    from markgraph.engines.native.load import load_decoder
    from markgraph.models.weights import load_tokenizer

    torch.set_num_threads(threads)
    exact = load_decoder(folder, "exact")
    ids = load_tokenizer(folder)(evaluation()["text"]).input_ids[: min(TOKENS, exact.window)]
    reference = Recorded(exact, ids)
    del exact
    return compare_formats(reference, load_decoder(folder, mode), ids, WIDTHS)


@lru_cache
def evaluation() -> dict[str, Any]:
    """Return the `text` that formats are judged on, and the `prompts` that are answered with them."""
    text: dict[str, Any] = yaml.safe_load((files("markgraph.models") / "evaluation.yaml").read_text("utf-8"))
    return text


def parameters(folder: Path) -> int:
    """Return how many numbers the safetensors in `folder` hold.

    Raises:
        WeightsError: they are damaged.
    """
    total = 0
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="numpy") as opened:
                total += sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"Could not read {file}: {error}. Fetch the model's files again.") from error
    return total


def require_room_for_exact(what: str, folder: Path) -> None:
    """Refuse to hold the unquantised model where there is no room.

    Raises:
        TooLargeError: saying what it takes.
    """
    require_room(what, EXACT * parameters(folder), memory().room)


def require_room_to_compare(folder: Path, mode: str) -> None:
    """Refuse to hold `mode` and the unquantised model at once where there is no room for both.

    Raises:
        TooLargeError: saying what it takes.
    """
    what = f"Comparing mode {mode} of {folder.name} with the unquantised model"
    require_room(what, (EXACT + QUANTISED) * parameters(folder), memory().room)


def note_of(folder: Path, mode: str, threads: int | None = None) -> Path:
    """Return the file that holds what was found for this model, mode, machine, and code."""
    told = [_fingerprint(folder), mode, f"{threads or usual_threads()} threads", _machine(), _code()]
    key = sha256("\n".join(told).encode()).hexdigest()[:16]
    return cache_folder() / "quality" / f"{folder.name}-{mode}-{key}.json"


def _measured_apart(folder: Path, mode: str, threads: int) -> dict[int, Quality]:
    require_room_for_exact(f"Comparing mode {mode} of {folder.name} with the unquantised model", folder)
    # -P: what lies in the working directory is nobody's module.
    command = [sys.executable, "-P", "-m", "markgraph.models.gate", str(folder), mode, str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)  # noqa: S603 -- our own module
    if done.returncode == -signal.SIGKILL:
        raise TooLargeError(
            f"Comparing mode {mode} of {folder.name} with the unquantised model was ended by the system, "
            "most likely for want of memory."
        )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise QualityError(
            f"{folder.name} could not be checked in mode {mode}: the process that compares it with the "
            f"unquantised model ended with code {done.returncode} (below 0: a signal), saying: {said[0]} "
            "Choose mode=exact, or another model."
        )
    told = json.loads(done.stdout.splitlines()[-1])  # libraries print what they like before
    return {int(width): Quality(**found) for width, found in told.items()}


def _fingerprint(folder: Path) -> str:
    """Return what changes when the weights do, without reading them."""
    stats = {file.name: file.stat() for file in sorted(folder.glob("*.safetensors"))}
    return f"{folder.resolve()} {[(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]}"


@lru_cache
def _machine() -> str:
    cores = processor()
    return f"{cores.name} {cores.matrix_units} {cores.masks} {version('torch')}"


@lru_cache
def _code() -> str:
    """Return what changes when the code does that computes the forms."""
    engine = files("markgraph.engines.native")
    sources = sorted(file.read_bytes() for file in engine.iterdir() if file.name.endswith((".py", ".c")))
    return sha256(b"".join(sources)).hexdigest()


def main(arguments: list[str]) -> None:
    """Print what a mode costs, as JSON: `python -m markgraph.models.gate FOLDER MODE THREADS`."""
    folder, mode, threads = arguments
    found = measure(Path(folder), mode, int(threads))
    print(json.dumps({str(width): asdict(quality) for width, quality in found.items()}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
