"""Bounds how often somebody unknown may try to become known, and takes down whom a door turned away.

`Limits` bounds those who are known: a good token is never refused because of others at the same address.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

from markgraph.audit.types import Audit, Event
from markgraph.errors import DeniedError, LimitError
from markgraph.security.caller import Caller
from markgraph.security.counters import Counters, MemoryCounters
from markgraph.security.limits import again

ENTER, ISSUE, REVOKE, LOG_IN = "door:enter", "tokens:issue", "tokens:revoke", "sessions:begin"
"""What somebody unknown may try, as the log calls it."""
_HOUSEHOLD = 64
"""Bits of an IPv6 address that tell customers of a provider apart; the rest is theirs to choose."""
_ADDRESSES = 20
"""So many addresses at their bound fill the log as fast as it may fill."""


@dataclass(frozen=True)
class Strangers:
    """Counts tries by the address that they come from: a name that is not proven is anybody's to use up."""

    audit: Audit | None = None
    attempts: int | None = None
    """Tries a minute from one address; None: any number."""
    counters: Counters = field(default_factory=MemoryCounters)

    def attempt(self, address: str | None) -> None:
        """Count a try.

        Raises:
            LimitError: there were too many from that address.
        """
        if self.attempts and (wait := self.counters.hit(f"attempts:{_counted(address)}", self.attempts)):
            raise LimitError(
                f"{self.attempts} tries a minute are the most from one address. {again(wait)}", wait
            )

    @contextmanager
    def entering(self, address: str | None) -> Iterator[None]:
        """Count whom the door turns away within, and take it down unless there were too many.

        Raises:
            LimitError: there were; the first of them is taken down.
            StorageError: the log can't be written.
        """
        try:
            yield
        except DeniedError as error:
            try:
                self.attempt(address)
            except LimitError:
                if not self.counters.hit(f"too many:{_counted(address)}", 1):
                    self.failed(address, ENTER, LimitError.__name__)
                raise
            self.failed(address, ENTER, type(error).__name__)
            raise

    def failed(self, address: str | None, action: str, why: str) -> None:
        """Take down that somebody tried something in vain.

        Nobody can fill the disk with it: of what very many addresses do in a minute, a part is left out.

        Args:
            address: where they are.
            action: what they tried.
            why: in a word of ours, nothing that they sent.

        Raises:
            StorageError: it can't be taken down.
        """
        if self.attempts and self.counters.hit("strangers in the log", self.attempts * _ADDRESSES):
            return
        self._write({"actor": "", "action": action, "outcome": "denied", "error": why}, address)

    def known(self, address: str | None, action: str, caller: Caller) -> None:
        """Take down that somebody became known as `caller`.

        Raises:
            StorageError: it can't be taken down.
        """
        who = {"actor": caller.subject, "tenant": caller.tenant}
        self._write({**who, "action": action, "outcome": "done"}, address)

    def _write(self, event: Event, address: str | None) -> None:
        """Write an event, with a keyed hash of the address that it came from."""
        if self.audit is not None:
            where = {"resource": "door:http", "from": self.audit.sealed(_counted(address))}
            self.audit.write({**event, **where}, "written")


def _counted(address: str | None) -> str:
    """Return what tries are counted under: an address, or the IPv6 network that its owner chooses from."""
    try:
        known = ip_address(address or "")
    except ValueError:
        return "unknown"
    if not isinstance(known, IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or ip_network((known, _HOUSEHOLD), strict=False))
