"""What was measured of a case."""

from dataclasses import dataclass, field

Figures = dict[str, float]
"""What one measurement gave, by name."""


@dataclass(frozen=True)
class Results:
    """What was measured of a case, by name of the runner."""

    runs: dict[str, list[Figures]] = field(default_factory=dict)
    """In the order in which they were made."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a runner has no runs."""
    words: dict[str, str] = field(default_factory=dict)
    """How the setting is called that was best."""

    def has(self, name: str) -> bool:
        """Tell whether a runner was measured."""
        return bool(self.runs.get(name))

    def of(self, name: str, figure: str) -> list[float]:
        """Return all runs of a figure."""
        return [figures[figure] for figures in self.runs[name]]

    def said(self, name: str) -> str:
        """Return how a runner is named in the table: with its setting, or why it has no figures."""
        if name in self.reasons:
            return self.reasons[name]
        words = self.words.get(name)
        return f"{name} ({words})" if words else name
