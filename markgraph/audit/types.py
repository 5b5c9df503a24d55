"""The port of an audit log."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, Self

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

    def write(self, event: Event, *, wait: bool = False) -> None:
        """Take an event down.

        Args:
            event: what happened.
            wait: come back only when it would outlive a power failure, with everything before it.

        Raises:
            StorageError: it can't be taken down, and what it is about must not happen then.
        """

    def sealed(self, text: str) -> dict[str, Any]:
        """Return a keyed hash of `text` and its length: it tells texts apart, and nobody what they say."""
