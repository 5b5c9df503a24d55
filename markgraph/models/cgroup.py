"""What a container lets its processes have: the cgroup's share of processor time and of memory.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, and cgroup-v1/memory.rst for the older kind.
"""

from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 1 << 60
"""The older kind writes a number near 2**63 where there is no limit."""


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many cores' worth of time this process may use, or None where there is no limit.

    Args:
        root: the folder that stands for `/`.
    """
    quotas = []
    for folder in _folders(root, "cpu"):
        if (words := _words(folder / "cpu.max")) and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
        granted = _words(folder / "cpu.cfs_quota_us")
        period = _words(folder / "cpu.cfs_period_us")
        if granted and period and int(granted[0]) > 0:
            quotas.append(int(granted[0]) / int(period[0]))
    return min(quotas, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return how many bytes this process and its siblings may use, or None where there is no limit."""
    return min((limit for _, limit in _limits(root)), default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Return how many bytes of the limit are left; what files keep cached, and is given back, is not used."""
    return min((max(0, limit - _used(folder)) for folder, limit in _limits(root)), default=None)


def _limits(root: Path) -> Iterator[tuple[Path, int]]:
    for folder in _folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (words := _words(folder / name)) and words[0] != "max" and int(words[0]) < UNLIMITED:
                yield folder, int(words[0])


def _used(folder: Path) -> int:
    words = _words(folder / "memory.current") or _words(folder / "memory.usage_in_bytes") or ["0"]
    stat = dict(line.split() for line in _lines(folder / "memory.stat"))
    return int(words[0]) - int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders whose limits count: this process's cgroup, and each that it lies in."""
    mount = root / "sys/fs/cgroup"
    yield from (mount, mount / controller)  # within a container, its own cgroup is mounted as the root
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mount / controller if controllers else mount
        parts = Path(place).parts[1:]
        yield from (top.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.is_file() else []
