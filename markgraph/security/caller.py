"""Decides who is asking. The answer never comes from the request itself."""

from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from langgraph.config import get_config
from langgraph.runtime import ServerInfo

from markgraph.errors import DeniedError

PUBLIC = "public"
"""The reader atom that everybody holds who holds any."""


@dataclass(frozen=True)
class Caller:
    """Somebody whose identity a door has verified. `Caller()` is nobody, and may do nothing."""

    subject: str = ""
    """Stable id of the person or service."""
    roles: tuple[str, ...] = ()
    """What they may do, for example `reader`."""
    tenant: str = "default"
    """Whose documents these are; nothing crosses tenants."""
    groups: tuple[str, ...] = ()
    """Groups whose documents they may read."""

    def __post_init__(self) -> None:
        # Config and JSON hand over lists; a frozen caller must hash and compare.
        object.__setattr__(self, "roles", tuple(self.roles))
        object.__setattr__(self, "groups", tuple(self.groups))


class Running(Protocol):
    """What LangGraph hands to a node (`Runtime`) or to a tool (`ToolRuntime`)."""

    @property
    def context(self) -> Any:
        """Return what the run was started with."""

    @property
    def server_info(self) -> ServerInfo | None:
        """Return what LangGraph Server knows of the run; None elsewhere."""


def caller_of(runtime: Running) -> Caller:
    """Return who is asking: the server's user, else the door's caller, else the embedding app's context.

    On LangGraph Server a client can fill `context` and `configurable`, so there only the
    authenticated user counts. Elsewhere JSON cannot make a `Caller`, so one that is found in
    `configurable` was put there by code.
    """
    if runtime.server_info is not None:
        user = runtime.server_info.user
        return Caller(user.identity, tuple(user.permissions)) if user else Caller()
    configured = get_config().get("configurable", {}).get("caller")
    for candidate in (configured, runtime.context):
        if isinstance(candidate, Caller):
            return candidate
    return Caller()


def readers_of(caller: Caller) -> tuple[str, ...]:
    """Return the reader atoms that `caller` holds: `public`, `u:SUBJECT`, and `g:GROUP` for each group.

    Raises:
        DeniedError: for a caller without a subject or a tenant; there is no filter for nobody.
    """
    if not caller.subject or not caller.tenant:
        raise DeniedError(
            "Nobody is asking: this run has no verified caller, so there is nothing it may read. "
            "Pass context=Caller(...) when you invoke the graph, or ask through a door that authenticates."
        )
    return (PUBLIC, f"u:{caller.subject}", *(f"g:{group}" for group in caller.groups))


def thread_key(caller: Caller, thread: str) -> str:
    """Return the checkpointer's thread id for `caller`'s thread; no caller can name another's."""
    return ":".join(quote(part, safe="") for part in (caller.tenant, caller.subject, thread))


def may_read(caller: Caller, tenant: str, readers: tuple[str, ...]) -> bool:
    """Tell whether `caller` may read something that belongs to `tenant` and is open to `readers`."""
    return caller.tenant == tenant and not set(readers_of(caller)).isdisjoint(readers)
