"""Writes what an evaluation has shown."""

from dataclasses import dataclass
from typing import Any

from markgraph.evaluation.log import AnswerLog, logs_of
from markgraph.evaluation.questions import Questions
from markgraph.evaluation.report import write_report
from markgraph.evaluation.state import EvaluateState
from markgraph.evaluation.summary import report_of
from markgraph.security.effects import Effect, does


@does(Effect.READS_PRIVATE, Effect.STORES)
@dataclass(frozen=True)
class ReportAnswers:
    """Puts all who were asked the same questions side by side, in report.html and report.json."""

    questions: Questions
    log: AnswerLog
    over: str

    def __call__(self, state: EvaluateState) -> dict[str, Any]:
        """Return the report, and the folder that it is in."""
        logs = logs_of(self.log.folder)
        asked = {
            "suite": "answers",
            "dataset": self.questions.name,
            "over": self.over,
            "questions": state["total"],
            "seed": self.questions.seed,
        }
        report = report_of(logs, asked)
        write_report(self.log.folder, report, logs)
        return {"report": report, "folder": str(self.log.folder)}
