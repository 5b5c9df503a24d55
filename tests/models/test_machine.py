"""What a machine has is read from the system, and a container's limits count."""

import json
from pathlib import Path

import pytest

from markgraph.models.cgroup import cpu_quota, memory_left, memory_limit
from markgraph.models.machine import (
    Memory,
    Processor,
    apple_flags,
    describe_machine,
    gpu_formats,
    matrix_units,
    processor,
    read_bandwidth,
)


def write(root: Path, files: dict[str, str]) -> Path:
    """Lay out what the kernel would show below `root`."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return root


UNIFIED = {
    "proc/self/cgroup": "0::/pod/app\n",
    "sys/fs/cgroup/pod/cpu.max": "400000 100000\n",
    "sys/fs/cgroup/pod/memory.max": "max\n",
    "sys/fs/cgroup/pod/app/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/pod/app/memory.max": "2000000000\n",
    "sys/fs/cgroup/pod/app/memory.current": "900000000\n",
    "sys/fs/cgroup/pod/app/memory.stat": "anon 500000000\ninactive_file 300000000\n",
}
OLDER = {
    "proc/self/cgroup": "4:memory:/app\n3:cpu,cpuacct:/app\n0::/\n",
    "sys/fs/cgroup/cpu/app/cpu.cfs_quota_us": "50000\n",
    "sys/fs/cgroup/cpu/app/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/app/memory.limit_in_bytes": "1000000000\n",
    "sys/fs/cgroup/memory/app/memory.usage_in_bytes": "100000000\n",
}
FREE = {
    "proc/self/cgroup": "4:memory:/\n3:cpu:/\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}


@pytest.mark.parametrize(
    ("files", "quota", "limit", "left"),
    [
        (UNIFIED, 1.5, 2_000_000_000, 1_400_000_000),
        (OLDER, 0.5, 1_000_000_000, 900_000_000),
        (FREE, None, None, None),
        ({}, None, None, None),
    ],
)
def test_the_tightest_limit_of_a_container_counts(
    tmp_path: Path, files: dict[str, str], quota: float | None, limit: int | None, left: int | None
) -> None:
    root = write(tmp_path, files)
    assert (cpu_quota(root), memory_limit(root), memory_left(root)) == (quota, limit, left)


def cores(quota: float | None) -> Processor:
    return Processor("a processor", "x86_64", 8, 4, 6, quota, (), {}, None)


@pytest.mark.parametrize(("quota", "threads"), [(None, 4), (2.5, 2), (0.5, 1), (16.0, 4)])
def test_computes_with_as_many_threads_as_there_are_cores_of_its_own(quota: float, threads: int) -> None:
    assert cores(quota).threads == threads


def test_room_for_a_model_is_what_is_free_within_the_containers_limit() -> None:
    assert Memory(total=16, available=10, limit=None, left=None).room == 10
    assert Memory(total=16, available=10, limit=8, left=3).room == 3
    assert Memory(total=16, available=2, limit=8, left=3).room == 2


def test_matrix_units_are_named_from_the_kernels_flags() -> None:
    assert matrix_units({"fpu", "avx2", "avx512f", "avx512_vnni", "amx_int8"}) == (
        "AVX2",
        "AVX-512",
        "AVX-512 VNNI",
        "AMX int8",
    )
    assert matrix_units({"fp", "asimd", "asimddp", "i8mm", "bf16"}) == ("NEON", "dot product", "I8MM", "BF16")
    assert matrix_units(set()) == ()


def test_an_apple_processors_units_are_read_from_sysctl() -> None:
    said = "hw.optional.AdvSIMD: 1\nhw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_I8MM: 0\n"
    assert matrix_units(apple_flags(said)) == ("NEON", "BF16")


@pytest.mark.parametrize(
    ("capability", "formats"),
    [
        ((6, 1), ()),
        ((7, 5), ("fp16", "int8")),
        ((8, 6), ("fp16", "int8", "bf16")),
        ((9, 0), ("fp16", "int8", "bf16", "fp8")),
    ],
)
def test_a_gpus_formats_follow_from_its_capability(
    capability: tuple[int, int], formats: tuple[str, ...]
) -> None:
    assert gpu_formats(capability) == formats


def test_this_machine_is_described_as_plain_data() -> None:
    described = json.loads(json.dumps(describe_machine()))
    assert 1 <= described["processor"]["threads"] <= described["processor"]["logical_cores"]
    assert 0 < described["memory"]["room"] <= described["memory"]["total"]
    assert {"os", "python", "torch", "gpus", "load_average"} <= described.keys()


def test_a_mask_that_hides_matrix_units_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert processor().masks["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def test_bandwidth_is_read_from_more_memory_than_a_cache_holds() -> None:
    assert 0.1 < read_bandwidth(1) < 10_000
