"""A candidate whose numbers are none is refused, whatever its other scores are."""

import json
import math
from pathlib import Path
from typing import Any

from markgraph.evaluation.comparison import MIN_ROWS
from markgraph.training.compare import Compare
from markgraph.training.runs import Runs, write_json


def verdict_of(folder: Path, candidate: float, **trained: Any) -> dict[str, Any]:
    """Return the verdict on a candidate that has this score in each row, and the champion 1.0."""
    for who, value in (("champion", 1.0), ("candidate", candidate)):
        write_json(folder / "r" / "scores" / f"{who}.json", {"f1": [value] * MIN_ROWS})
    state: Any = {"run": "r", "metric": "f1", "trained": trained}
    verdict: dict[str, Any] = Compare(Runs(folder), 0)(state)["verdict"]
    return verdict


def test_a_stage_whose_loss_is_no_finite_number_is_named_and_refuses_the_best_of_scores(
    tmp_path: Path,
) -> None:
    good = {"steps": 9, "loss": 0.5, "seconds": 1.0, "diverged": False}
    assert verdict_of(tmp_path, 2.0, sft=good)["accepted"]
    verdict = verdict_of(tmp_path, 2.0, sft=good, dpo={**good, "loss": None, "diverged": True})
    assert not verdict["accepted"]
    (reason,) = verdict["reasons"]
    assert reason.startswith("dpo: its training has diverged")
    assert "method.learning_rate" in reason
    assert json.loads((tmp_path / "r" / "verdict.json").read_text("utf-8")) == verdict


def test_scores_that_are_no_finite_numbers_are_null_in_their_file_and_refused(tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, math.nan)
    assert verdict["reasons"] == ["f1: a score of the candidate is no finite number"]
    kept = json.loads((tmp_path / "r" / "scores" / "candidate.json").read_text("utf-8"))
    assert kept == {"f1": [None] * MIN_ROWS}
