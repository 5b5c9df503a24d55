"""Takes rows from several sources, one after the other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markgraph.errors import ConfigError
from markgraph.security.caller import Caller
from markgraph.training.data.source import LeaveOut, Source
from markgraph.training.rows import Kind, Row


@dataclass(frozen=True)
class Mix:
    """All rows of some sources."""

    sources: Mapping[str, Source]
    """By names that only the config uses, in the order of those names."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("data.sources is empty. Allowed: one source or more, each under a name.")

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield the rows of each source.

        Raises:
            UsageError: a source has no rows of that kind, or there is nothing to read.
        """
        for name in sorted(self.sources):
            yield from self.sources[name].rows(kind, caller, leave_out)
