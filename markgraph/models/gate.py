"""The gate: no number format serves that hasn't been compared with the unquantised model on this machine.

A comparison runs in a process of its own: its memory is given back, and instructions that this processor
lacks end it alone. What passed is remembered for the model, the mode, the machine, and this engine's code;
what did not leaves nothing behind.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
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

from markgraph.errors import QualityError
from markgraph.models.machine import memory, processor
from markgraph.models.quality import CHUNK, Bounds, Quality, compare_formats
from markgraph.models.source import cache_folder
from markgraph.models.tiers import require_room

log = logging.getLogger(__name__)

WIDTHS = (1, 8, CHUNK)
"""Tokens at once: an answer, a few answers or guesses together, and a prompt take different forms."""
TOKENS = 512
"""As much of the text as is read: enough for the bounds, a few seconds for a small model."""
BOUNDS: Mapping[str, Bounds] = {"small": Bounds(kl=0.05, top1=0.88)}
"""What is tolerated of a mode; `Bounds()` of others."""


def ensure_passed(folder: Path, mode: str, bounds: Bounds | None = None) -> dict[int, Quality]:
    """Return what `mode` costs the model in `folder`, by width; measured at the first call on this machine.

    Raises:
        QualityError: it costs more than `bounds` allow, or the comparison crashed.
        TooLargeError: there is no room for the unquantised model beside it.
    """
    if mode == "exact":
        return {}
    note = note_of(folder, mode)
    note.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{note}.lock"):  # another process may be measuring the same
        known = remembered(folder, mode)
        if not known:
            log.info("Comparing %s in mode %s with the unquantised model, once.", folder.name, mode)
        found = known or _measured_apart(folder, mode)
        (bounds or bounds_of(mode)).check(f"{folder.name} in mode {mode}", found)
        if not known:
            remember(folder, mode, found)
    return found


def bounds_of(mode: str) -> Bounds:
    """Return what is tolerated of `mode` unless somebody says otherwise."""
    return BOUNDS.get(mode, Bounds())


def remembered(folder: Path, mode: str) -> dict[int, Quality] | None:
    """Return what was found before for this model, mode and machine; None if nothing was."""
    try:
        noted: dict[str, Any] = json.loads(note_of(folder, mode).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return {int(width): Quality(**quality) for width, quality in noted["widths"].items()}


def remember(folder: Path, mode: str, found: Mapping[int, Quality]) -> None:
    """Keep what was found of a format that passed."""
    note = note_of(folder, mode)
    note.parent.mkdir(parents=True, exist_ok=True)
    widths = {str(width): asdict(quality) for width, quality in found.items()}
    draft = note.with_suffix(".part")
    draft.write_text(json.dumps({"model": str(folder), "mode": mode, "widths": widths}, indent=2), "utf-8")
    draft.replace(note)


def measure(folder: Path, mode: str) -> dict[int, Quality]:
    """Compare `mode` with the unquantised model, in this process."""
    from markgraph.engines.native.load import load_decoder
    from markgraph.models.weights import load_tokenizer

    ids = load_tokenizer(folder)(evaluation()["text"]).input_ids[:TOKENS]
    return compare_formats(load_decoder(folder, "exact"), load_decoder(folder, mode), ids, WIDTHS)


@lru_cache
def evaluation() -> dict[str, Any]:
    """Return the `text` that formats are judged on, and the `prompts` that are answered with them."""
    text: dict[str, Any] = yaml.safe_load((files("markgraph.models") / "evaluation.yaml").read_text("utf-8"))
    return text


def parameters(folder: Path) -> int:
    """Return how many numbers the safetensors in `folder` hold."""
    total = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:  # 8 bytes of length, then JSON: the format's own header
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        total += sum(prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
    return total


def require_room_to_compare(folder: Path, mode: str) -> None:
    """Refuse to hold `mode` and the unquantised model at once where there is no room for both.

    Raises:
        TooLargeError: saying what it takes.
    """
    # Four bytes a parameter for the unquantised model, and at most three for the other.
    require_room(f"Comparing mode {mode} of {folder.name}", 7 * parameters(folder), memory().room)


def note_of(folder: Path, mode: str) -> Path:
    """Return the file that holds what was found for this model, mode, machine, and code."""
    key = sha256("\n".join([_fingerprint(folder), mode, _machine(), _code()]).encode()).hexdigest()[:16]
    return cache_folder() / "quality" / f"{folder.name}-{mode}-{key}.json"


def _measured_apart(folder: Path, mode: str) -> dict[int, Quality]:
    require_room_to_compare(folder, mode)
    command = [sys.executable, "-m", "markgraph.models.gate", str(folder), mode]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 -- our own module
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise QualityError(
            f"{folder.name} could not be checked in mode {mode}: the process that compares it with the "
            f"unquantised model ended with code {done.returncode} (below 0: a signal), saying: {said[0]} "
            "Choose mode=exact, or another model."
        )
    return {int(width): Quality(**found) for width, found in json.loads(done.stdout).items()}


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
    """Print what a mode costs, as JSON: `python -m markgraph.models.gate FOLDER MODE`."""
    found = measure(Path(arguments[0]), arguments[1])
    print(json.dumps({str(width): asdict(quality) for width, quality in found.items()}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
