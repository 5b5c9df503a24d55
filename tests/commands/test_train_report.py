"""What is printed of a run that has ended."""

import json
import math
from typing import Any

import pytest
from omegaconf import OmegaConf

from markgraph.commands.train_report import print_report

CONFIG = OmegaConf.create({"output": "text", "data_dir": "/data"})


def ended(scores: dict[str, Any], differences: dict[str, Any], *reasons: str) -> dict[str, Any]:
    """Return the state of a run that the gate refused."""
    return {
        "run": "r",
        "approved": True,
        "trained": {},
        "scores": scores,
        "verdict": {"accepted": False, "reasons": reasons, "differences": differences},
        "registered": {},
    }


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_what_too_few_rows_can_not_be_compared_in_has_means_without_intervals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = {"champion": {"completion_logp": -2.5, "old": 1.0}, "candidate": {"completion_logp": -1.25}}
    print_report(ended(scores, {}), CONFIG, done_before=False)
    assert lines(capsys)[:3] == [
        "metric champion candidate difference 95 % interval",
        "completion_logp -2.5 -1.25",
        "old 1",
    ]


def test_latency_says_that_its_seconds_have_a_minus_as_the_reasons_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {"champion": -0.5, "candidate": -1.0, "mean": -0.5, "low": -0.6, "high": -0.4}
    scores = {who: {"latency": found[who]} for who in ("champion", "candidate")}
    reason = "latency: may have fallen, -0.5 to -1, a difference of -0.5 [-0.6, -0.4]"
    print_report(ended(scores, {"latency": found}, reason), CONFIG, done_before=False)
    assert lines(capsys)[1:3] == [
        "latency, minus seconds -0.5 -1 -0.5 [-0.6, -0.4]",
        f"refused: {reason}",
    ]


def test_a_training_that_diverged_says_so_and_its_report_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"champion": {"auc": 0.5}, "candidate": {"auc": math.nan}}
    state = ended(scores, {}, "auc: a score of the candidate is no finite number")
    state["trained"] = {"train": {"steps": 7, "loss": None, "seconds": 3.0, "diverged": True}}
    print_report(state, CONFIG, done_before=False)
    assert lines(capsys)[0] == "train: 7 steps in 3.0 s, diverged: the loss is no finite number"

    print_report(state, OmegaConf.merge(CONFIG, {"output": "json"}), done_before=False)  # type: ignore[arg-type]
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told["scores"]["candidate"] == {"auc": None}
