"""The channels of the graph `evaluate`: plain data only."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from markgraph.evaluation.scoring import Answered
from markgraph.state import Owned


class EvaluateRequest(TypedDict):
    """What a client may send; the questions are part of the config."""

    resume: NotRequired[bool]
    """Go on with the same evaluation, instead of asking everything anew."""


class EvaluateReport(TypedDict):
    """What came of it."""

    report: dict[str, Any]
    """As in report.json."""
    folder: str
    """Where report.html, report.json and the answers are."""


class EvaluateState(EvaluateRequest, EvaluateReport, Owned):
    """Everything a run of `evaluate` knows."""

    left: list[str]
    """Ids of the questions that are still to be asked."""
    total: int
    """How many there are."""
    warm: bool
    """Whether a question was asked whose time does not count: the first one loads weights."""
    answered: list[Answered]
    """What came back in this step, and was not scored yet."""
