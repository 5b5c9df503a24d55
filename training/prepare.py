"""Writes the rows of a stage into its folder: those to learn from, and those that are held back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from markgraph.security.effects import Effect, does
from markgraph.security.policy import Policy
from markgraph.training.pipeline import Stage, stage_folder
from markgraph.training.rows import Row
from markgraph.training.runs import Runs, write_json, write_text
from markgraph.training.state import TrainState


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED, Effect.STORES)
@dataclass(frozen=True)
class Prepare:
    """Splits rows by document, the same way for the same seed."""

    stage: Stage
    runs: Runs
    seed: int
    policy: Policy
    held: float = 0.1
    """Part of the rows that is held back."""

    def __call__(self, state: TrainState) -> dict[str, Any]:
        """Return how many rows there are."""
        folder = stage_folder(self.runs.of(state["run"]), self.stage.name)
        rows = list(self.stage.data.rows(self.stage.method.kind))
        parts = {"train": [row for row in rows if not self._is_held(row)]}
        parts["held"] = [row for row in rows if self._is_held(row)]
        digests = {f"{name}.jsonl": _write(folder / "rows" / f"{name}.jsonl", part) for name, part in parts.items()}
        write_json(folder / "report.json", {"left_out": {}})
        counts = {"rows": len(parts["train"]), "held": len(parts["held"]), "sha256": digests, "left_out": {}}
        return {"prepared": {self.stage.name: counts}}

    def _is_held(self, row: Row) -> bool:
        key = f"{self.seed} {row['documents'] or row['id']}"
        return int(sha256(key.encode()).hexdigest()[:8], 16) < self.held * 2**32


def _write(place: Any, rows: Sequence[Row]) -> str:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(place, text)
    return sha256(text.encode()).hexdigest()
