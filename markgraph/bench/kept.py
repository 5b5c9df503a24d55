"""Keeps what was measured of each case, so that a run which was interrupted can go on."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from markgraph.bench.results import Results
from markgraph.models.source import cache_folder


@dataclass(frozen=True)
class Kept:
    """Results of finished cases in a folder, a file each."""

    folder: Path

    def read(self, title: str) -> Results | None:
        """Return the results of the case with this title; None where it has not been finished."""
        place = self._place(title)
        return Results(**json.loads(place.read_text("utf-8"))) if place.exists() else None

    def write(self, title: str, results: Results) -> None:
        """Keep the results of a finished case.

        A rival that gave none may be installed by the next run: such a case is not finished.
        """
        if results.reasons:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._place(title).with_suffix(".making")
        draft.write_text(json.dumps(asdict(results)), "utf-8")
        draft.replace(self._place(title))

    def clear(self) -> None:
        """Forget all cases: the run is measured anew, or is complete."""
        for file in self.folder.glob("*.json"):
            file.unlink()

    def _place(self, title: str) -> Path:
        return self.folder / f"{sha256(title.encode()).hexdigest()[:16]}.json"


def kept_for(settings: dict[str, Any]) -> Kept:
    """Return where results are kept that were measured with these settings, and no others."""
    name = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return Kept(cache_folder() / "bench" / "runs" / name)
