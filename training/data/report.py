"""What preparing rows took, what it left out, and why; no text of a row is in it."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5
"""How many ids are kept for each reason."""


@dataclass
class Counts:
    """Counts by source and reason, with the ids of the first few."""

    used: Counter[str] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: defaultdict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def leave_out(self, source: str, reason: str, id_: str) -> None:
        """Count something that is left out."""
        self.left[source, reason] += 1
        if len(examples := self.examples[source, reason]) < EXAMPLES:
            examples.append(id_)

    def use(self, source: str) -> None:
        """Count a row that is used."""
        self.used[source] += 1

    def reasons(self) -> dict[str, int]:
        """Return how many were left out, by reason, the commonest first."""
        total: Counter[str] = Counter()
        for (_, reason), count in self.left.items():
            total[reason] += count
        return dict(total.most_common())

    def by_source(self) -> dict[str, Any]:
        """Return everything that was counted, by source and reason."""
        sources = sorted({*self.used, *(source for source, _ in self.left)})
        return {
            source: {
                "used": self.used[source],
                "left_out": {
                    reason: {"rows": count, "examples": self.examples[of, reason]}
                    for (of, reason), count in sorted(self.left.items())
                    if of == source
                },
            }
            for source in sources
        }
