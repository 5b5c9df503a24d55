"""An engine's memory over a folder of sealed states, in this process or in one of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from markgraph.engines.native.prefix import PrefixCache
from markgraph.engines.native.state_cache import StateCache
from tests.engines.recording import Read, Recorder

PLENTY = 1 << 24
DOCUMENT = list(range(300, 340))
QUESTION = [*DOCUMENT, 7, 8]


class Process:
    """What one start of an engine has: an empty memory over a folder of states."""

    def __init__(
        self, folder: Path, max_bytes: int = PLENTY, model: str = "m1", cumulative: bool = True
    ) -> None:
        self.disk = StateCache(folder, max_bytes, model, {"legal": "d1"})
        self.cache = PrefixCache(Recorder(cumulative), PLENTY, self.disk, block=8)

    def keep(self, ids: Sequence[int], scope: str = "ada", adapter: str | None = None) -> None:
        self.cache.keep(ids, Read(list(ids)), scope, adapter)
        self.disk.flush()

    def reused(self, ids: Sequence[int], scope: str = "ada", adapter: str | None = None) -> int:
        """Return how many tokens need not be read again."""
        found = self.cache.longest(ids, scope, adapter)
        return found[-1].end if found else 0


def states(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.state"))


def run(program: str, *args: object) -> "subprocess.Popen[str]":
    """Start a Python program that begins as this module does."""
    begin = "import sys\nfrom tests.engines.sealed import *\n"
    command = [sys.executable, "-c", begin + program, *map(str, args)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
