"""Compiles the C files beside it for the processor they will run on, once, and loads them."""

import ctypes
import logging
import os
import platform
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch  # noqa: F401 - its OpenMP has to be loaded first: two of them in a process fight for the cores

from markgraph.models.source import cache_folder

SOURCE = Path(__file__).with_name("kernels.c")
OPTIMISED = ("-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC", "-Wno-psabi")
LINKED = ("-shared", "-fopenmp", "-lm")
"""`-ffast-math` is left out: with it, linking adds code that changes how the whole process rounds."""
COMPILERS = ("cc", "gcc", "clang")
TOKENS, QUERIES, LARGEST_HEAD, PAIR = 64, 64, 128, 32
"""As in kernels.c: keys in a run, queries that meet it together, the largest head, and what heads come in."""

log = logging.getLogger(__name__)
address = ctypes.c_void_p
integer = ctypes.c_int64
Signatures = tuple[tuple[str, tuple[Any, ...]], ...]
"""What functions are called, and the types of their arguments."""


class Matrix(ctypes.Structure):
    """An int8 weight."""

    _fields_ = [("q", address), ("scale", address), ("offset", address), ("n", integer), ("k", integer)]


class Layer(ctypes.Structure):
    """A block's weights."""

    _fields_ = [
        *((name, address) for name in ("attention_norm", "mlp_norm", "bias", "q_norm", "k_norm")),
        *((name, Matrix) for name in ("qkv", "out", "gate_up", "down")),
    ]


class Model(ctypes.Structure):
    """All weights."""

    _fields_ = [
        *((name, integer) for name in ("layers", "d", "heads", "kv_heads", "head_dim", "f")),
        ("eps", ctypes.c_float),
        ("layer", ctypes.POINTER(Layer)),
        *((name, address) for name in ("embedding", "norm", "cos", "sin")),
        ("head", Matrix),
    ]


class Rows(ctypes.Structure):
    """What is read in one step, and room to compute in."""

    _fields_ = [
        *((name, integer) for name in ("m", "threads", "wanted")),
        *((name, address) for name in ("ids", "first", "seen", "parts", "keys", "values")),
        ("slots", integer),
        *((name, address) for name in ("x", "y", "mixed", "part", "a", "s")),
    ]


_model, _rows = ctypes.POINTER(Model), ctypes.POINTER(Rows)
SIGNATURES = {
    "mark_step": (_model, _rows, address),
    "mark_embed": (_model, _rows),
    "mark_enter": (_model, _rows, address, ctypes.c_int, address),
    "mark_place": (_model, _rows, integer, address),
    "mark_attend": (_model, _rows, integer, address),
    "mark_read": (_model, _rows, integer, address),
    "mark_gate": (_model, _rows, address),
    "mark_threads": (integer,),
    "mark_product": (ctypes.POINTER(Matrix), _rows, integer, address, address),
}


def library() -> ctypes.CDLL | None:
    """Return the compiled kernels of kernels.c, or None where there is no compiler that can make them."""
    return built(SOURCE, tuple(SIGNATURES.items()))


@cache
def built(source: Path, signatures: Signatures) -> ctypes.CDLL | None:
    """Return what `source` compiles to, or None where there is no compiler that can do it."""
    compiler = next(filter(None, map(shutil.which, filter(None, (os.environ.get("CC"), *COMPILERS)))), None)
    if compiler is None:
        log.info("There is no C compiler, so the steps of a model stay uncompiled, and slower. Install gcc.")
        return None
    target = cache_folder() / "kernels" / f"{_key(compiler, source)}.so"
    try:
        if not target.exists():
            _compile(compiler, source, target)
        return _load(target, signatures)
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        log.warning(
            "The steps of a model stay uncompiled, and slower: %s could not do it. %s", compiler, error
        )
        return None


def _key(compiler: str, source: Path) -> str:
    """Name what the result depends on: the source, the compiler, and the processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    told = [source.read_text("utf-8"), *OPTIMISED, *LINKED, version, platform.machine(), _instructions()]
    return sha256("\n".join(told).encode()).hexdigest()[:32]


def _instructions() -> str:
    """Return what the processor can do, as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _compile(compiler: str, source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent) as folder:
        compiled, linked = Path(folder, "kernels.o"), Path(folder, "kernels.so")
        for command in (
            [*OPTIMISED, "-c", str(source), "-o", str(compiled)],
            [str(compiled), "-o", str(linked), *LINKED],
        ):
            told = [compiler, *command]
            done = subprocess.run(told, capture_output=True, text=True, timeout=120)  # noqa: S603
            if done.returncode:
                raise OSError(done.stderr.strip()[-500:])
        linked.replace(target)


def _load(target: Path, signatures: Signatures) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(target))
    for name, arguments in signatures:
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, None
    return loaded
