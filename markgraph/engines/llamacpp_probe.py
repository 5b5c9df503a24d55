"""Tries llama.cpp's first token in a process of its own: on some processors it takes the process along.

gcc before version 13 builds wrong code for AMX, and such a build dies with SIGSEGV or SIGILL at the first
token (llama.cpp, pull request 26954). What was found is remembered in the cache, for this build, processor
and file.
"""

import hashlib
import json
import logging
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from markgraph.engines.llamacpp_model import LlamaCppModel, LlamaCppOptions, build_folder
from markgraph.errors import EngineError, WeightsError
from markgraph.models.machine import processor
from markgraph.models.source import cache_folder

logger = logging.getLogger(__name__)

TRIED = 40
"""Tokens that are read at once before one alone: batches and single tokens take different code."""


def probe(gguf: Path, options: LlamaCppOptions) -> None:
    """Return once llama.cpp is known to compute tokens of `gguf` on this machine.

    Raises:
        EngineError: it dies.
        WeightsError: it can't load the file.
    """
    note = cache_folder() / "probes" / f"llamacpp-{_key(gguf, options)}.json"
    if note.exists():
        died = json.loads(note.read_text("utf-8"))["died"]
    else:
        logger.info("Trying llama.cpp in a process of its own, once.")
        died = _try(gguf, options)
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(".part")
        draft.write_text(json.dumps({"died": died, "model": gguf.name}), "utf-8")
        draft.replace(note)
    if died:
        raise EngineError(
            f"llama.cpp dies of {died} when it computes the first token of {gguf.name} on this processor "
            f"({processor().name}). A build without AMX helps: CMAKE_ARGS='-DGGML_AMX_TILE=OFF "
            "-DGGML_AMX_INT8=OFF -DGGML_AMX_BF16=OFF -DGGML_NATIVE=OFF' pip install --no-binary "
            "llama-cpp-python --force-reinstall llama-cpp-python. Or choose model=smollm2, the native engine."
        )


def _try(gguf: Path, options: LlamaCppOptions) -> str | None:
    """Return what a child process died of; None when it lived."""
    command = [sys.executable, "-m", __name__, str(gguf), json.dumps(asdict(options))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    said = " ".join(done.stderr.strip().splitlines()[-1:])
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"{name} ({said})" if said else name
    if done.returncode:
        raise WeightsError(f"llama.cpp could not be tried on {gguf}: {said or done.returncode}.")
    return None


def _key(gguf: Path, options: LlamaCppOptions) -> str:
    """Return what changes when a result may no longer hold: build, processor, file, or options."""
    build = sorted((build_folder() / "lib").iterdir())
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in (*build, gguf.resolve())]
    cores = processor()
    known = [stamps, cores.name, cores.matrix_units, cores.masks, options.flash_attn, options.n_gpu_layers]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _main(path: str, options: str) -> None:
    model = LlamaCppModel(Path(path), LlamaCppOptions(**json.loads(options)))
    sequence = model.open(TRIED + 1)
    sequence.read(list(range(min(TRIED, model.options.n_batch))))
    sequence.read([0])


if __name__ == "__main__":
    _main(*sys.argv[1:])
