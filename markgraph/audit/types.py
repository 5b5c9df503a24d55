"""The port of an audit log."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, Self

Until = Literal["taken", "written", "safe"]
"""`taken`: it will be written in a few milliseconds. `written`: it outlives the process, with all before it.
`safe`: it outlives a power failure, with all before it."""
Event = Mapping[str, Any]
"""What happened, as plain data without anybody's words: `action`, `actor`, `resource`, ..."""


class Composed(NamedTuple):
    """The config that a graph was built from."""

    hash: str
    """Tells it from any other."""
    text: str
    """As JSON, without secrets; what the environment says is not filled in."""
    facts: Mapping[str, Any]
    """What the record of a run says of it: seed, hashes of weights, services that an app passed in."""


class Audit(Protocol):
    """Takes events down in the order in which they come."""

    def of(self, config: Composed) -> Self:
        """Return the same log for a graph with this config, which is kept beside the log."""

    @property
    def config(self) -> Composed | None:
        """Return the config of the graph that this log is for."""

    def write(self, event: Event, until: Until = "taken") -> None:
        """Take an event down; the log keeps the order in which events come.

        Args:
            event: what happened.
            until: when to come back.

        Raises:
            StorageError: it can't be taken down, and what it is about must not happen then.
        """

    def sealed(self, text: str) -> dict[str, Any]:
        """Return a keyed hash of `text` and its length: it tells texts apart, and nobody what they say."""
