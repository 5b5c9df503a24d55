"""Keeps what was found for each query, so that an evaluation which was interrupted can go on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from markgraph.evaluation.retrieval import Ranked


@dataclass(frozen=True)
class KeptRankings:
    """A file with a line for each query."""

    file: Path

    def read(self) -> list[list[Ranked]]:
        """Return what was found for each query that was finished; a torn last line is not."""
        if not self.file.exists():
            return []
        found = []
        for line in self.file.read_text("utf-8").split("\n"):
            if line.endswith("]"):
                found.append([Ranked(**each) for each in json.loads(line)])
        return found

    def add(self, ranked: Sequence[Ranked]) -> None:
        """Append what was found for a query."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write("\n" + json.dumps([asdict(each) for each in ranked]))

    def clear(self) -> None:
        """Forget everything: the evaluation is run anew."""
        self.file.unlink(missing_ok=True)


def kept_for(folder: Path, settings: Any) -> KeptRankings:
    """Return where rankings are kept that were made with these settings, and no others."""
    name = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return KeptRankings(folder / "rankings" / f"{name}.jsonl")
