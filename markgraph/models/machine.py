"""What this machine has: cores, matrix units, memory and how fast it is read, GPUs."""

import math
import os
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from markgraph.models.cgroup import cpu_quota, memory_left, memory_limit

UNITS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "amx_fp16": "AMX fp16",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
    "sme": "SME",
}
"""Instructions that multiply matrices, by the flag that the Linux kernel lists for them."""
_APPLE = {"AdvSIMD": "asimd", "FEAT_DotProd": "asimddp", "FEAT_I8MM": "i8mm", "FEAT_BF16": "bf16"}
_APPLE |= {"FEAT_SME": "sme"}
MASKS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that keep a library from using units that are there."""


@dataclass(frozen=True)
class Processor:
    """The cores that this process may use."""

    name: str
    architecture: str
    logical_cores: int
    physical_cores: int
    allowed_cores: int
    """Logical cores that this process may run on."""
    quota: float | None
    """Cores' worth of time that the cgroup grants; None for no limit."""
    matrix_units: tuple[str, ...]
    masks: dict[str, str]
    """Variables set here that keep libraries from using all units."""
    cache: int | None
    """Bytes of the last-level cache, where the system tells."""

    @property
    def threads(self) -> int:
        """Return how many threads compute fastest: more than the cores that are ours slow each other down."""
        quota = math.inf if self.quota is None else max(1, math.floor(self.quota))
        return int(min(self.physical_cores, self.allowed_cores, quota))


@dataclass(frozen=True)
class Memory:
    """Memory, in bytes."""

    total: int
    available: int
    """What can be used without swapping, the cgroup's limit not counted."""
    limit: int | None
    """What the cgroup lets its processes use; None for no limit."""
    left: int | None
    """What is left of that."""

    @property
    def room(self) -> int:
        """Return what this process could take for a model now."""
        return self.available if self.left is None else min(self.available, self.left)


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch can use."""

    name: str
    memory: int
    """Bytes in total."""
    capability: tuple[int, int]
    """Compute capability, as NVIDIA numbers its architectures."""
    formats: tuple[str, ...]
    """Number formats that its matrix units multiply."""


def describe_machine() -> dict[str, Any]:
    """Return what this machine has, as plain data; sizes are bytes."""
    cores = processor()
    return {
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "processor": asdict(cores) | {"threads": cores.threads},
        "memory": asdict(memory()) | {"room": memory().room},
        "gpus": [asdict(gpu) for gpu in gpus()],
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def processor() -> Processor:
    """Return the processor of this machine."""
    import psutil

    info = Path("/proc/cpuinfo")
    text = info.read_text("utf-8", errors="replace") if info.exists() else ""
    logical = os.cpu_count() or 1
    return Processor(
        name=_field(text, "model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        logical_cores=logical,
        physical_cores=psutil.cpu_count(logical=False) or logical,
        allowed_cores=len(os.sched_getaffinity(0)) if platform.system() == "Linux" else logical,
        quota=cpu_quota(),
        matrix_units=matrix_units(_flags(text)),
        masks={name: os.environ[name] for name in MASKS if name in os.environ},
        cache=_cache_bytes(),
    )


def matrix_units(flags: set[str]) -> tuple[str, ...]:
    """Return the names of the matrix units among the kernel's `flags`."""
    return tuple(name for flag, name in UNITS.items() if flag in flags)


def memory() -> Memory:
    """Return the memory of this machine, as it is now."""
    import psutil

    now = psutil.virtual_memory()
    return Memory(total=now.total, available=now.available, limit=memory_limit(), left=memory_left())


def gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that torch can use."""
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return tuple(
        Gpu(each.name, each.total_memory, (each.major, each.minor), gpu_formats((each.major, each.minor)))
        for each in found
    )


def gpu_formats(capability: tuple[int, int]) -> tuple[str, ...]:
    """Return which number formats the matrix units of a GPU multiply, by its compute capability.

    Source: NVIDIA's CUDA programming guide, the table of features by compute capability.
    """
    since = {"fp16": (7, 0), "int8": (7, 2), "bf16": (8, 0), "fp8": (8, 9)}
    return tuple(name for name, first in since.items() if capability >= first)


def read_bandwidth(threads: int) -> float:
    """Return how fast `threads` threads together read memory, in GB/s; takes about half a second.

    The best of several passes over an array that is larger than the last cache: others on this machine
    only ever slow a pass down.
    """
    import numpy as np

    size = max(256 << 20, 2 * (_cache_bytes() or 0))
    size = min(size, 1 << 30, max(32 << 20, memory().room // 4))
    parts = np.array_split(np.ones(size // 8, dtype=np.int64), threads)
    best = math.inf
    with ThreadPoolExecutor(threads) as pool:  # numpy sums without holding the interpreter's lock
        for _ in range(8):
            began = perf_counter()
            list(pool.map(np.sum, parts))
            best = min(best, perf_counter() - began)
    return size / best / 1e9


def _flags(cpuinfo: str) -> set[str]:
    if platform.system() == "Darwin":
        return apple_flags(_sysctl("hw.optional"))
    return set((_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split())


def apple_flags(sysctl: str) -> set[str]:
    """Return, by Linux's names, what `sysctl hw.optional` says is there."""
    pairs = (line.partition(": ") for line in sysctl.splitlines())
    there = {key.rpartition(".")[2] for key, _, value in pairs if value == "1"}
    return {flag for name, flag in _APPLE.items() if name in there}


def _sysctl(name: str) -> str:
    return subprocess.run(["/usr/sbin/sysctl", name], capture_output=True, text=True, check=True).stdout  # noqa: S603


def _field(cpuinfo: str, name: str) -> str:
    """Return the value of the first line `NAME : VALUE`; empty where there is none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _cache_bytes() -> int | None:
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        sizes.append(int(file.read_text("utf-8").strip().rstrip("K")) * 1024)
    return max(sizes, default=None)


def usual_threads() -> int:
    """Return how many threads to compute with: what OpenMP was told, or the cores that are ours."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) else processor().threads
