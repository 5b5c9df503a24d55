"""Decides who is asking. The answer never comes from the request itself."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote

from langgraph.config import get_config
from langgraph.runtime import BaseUser, ServerInfo

from markgraph.errors import ConfigError, DeniedError
from markgraph.security.classification import CLASSIFICATIONS, level_of

PUBLIC = "public"
"""The reader atom that everybody holds who holds any."""
NOBODY = (
    "Nobody is asking: this run has no verified caller. Pass context=Caller(...) when you "
    "invoke the graph, or ask through a door that authenticates."
)
"""Why somebody without a subject or a tenant may do nothing."""


@dataclass(frozen=True, init=False)
class Caller:
    """Somebody whose identity a door has verified. `Caller()` is nobody, and may do nothing.

    The subject can't be given by keyword: LangGraph makes a run's context out of whatever JSON
    somebody passes on, and this keeps it from making a caller.
    """

    subject: str
    """Stable id of the person or service."""
    roles: tuple[str, ...]
    """What they may do, for example `reader`."""
    tenant: str
    """Whose documents these are; nothing crosses tenants."""
    groups: tuple[str, ...]
    """Groups whose documents they may read."""
    clearance: int
    """Up to which level of `CLASSIFICATIONS` they may read; 0 is the lowest."""
    scopes: tuple[str, ...] | None
    """Permissions that the token was issued for, which narrow those of the roles; None: no narrowing."""

    def __init__(
        self,
        subject: str = "",
        /,
        roles: Iterable[str] = (),
        tenant: str = "default",
        groups: Iterable[str] = (),
        clearance: int = 0,
        scopes: Iterable[str] | None = None,
    ) -> None:
        """Freeze what is given; lists from config become tuples.

        Raises:
            ConfigError: `roles`, `groups` or `scopes` is a string, which would count as its letters.
        """
        for name, value in (("roles", roles), ("groups", groups), ("scopes", scopes)):
            if isinstance(value, str):
                raise ConfigError(f"A caller's {name} are a list; got {value!r}. Write [{value}].")
            object.__setattr__(self, name, None if value is None else tuple(value))
        object.__setattr__(self, "subject", subject)
        object.__setattr__(self, "tenant", tenant)
        object.__setattr__(self, "clearance", clearance)


def local_caller(
    subject: str,
    roles: Iterable[str],
    tenant: str = "default",
    groups: Iterable[str] = (),
    clearance: str = CLASSIFICATIONS[0],
) -> Caller:
    """Return the person at this machine, as the config describes them.

    Raises:
        ConfigError: `clearance` is none of `CLASSIFICATIONS`.
    """
    return Caller(subject, roles, tenant, groups, level_of(clearance))


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
    `configurable` or `context` was put there by code.
    """
    if runtime.server_info is not None:
        user = runtime.server_info.user
        return server_caller(user) if user else Caller()
    configured = get_config().get("configurable", {}).get("caller")
    for candidate in (configured, runtime.context):
        if isinstance(candidate, Caller):
            return candidate
    return Caller()


def server_caller(user: BaseUser) -> Caller:
    """Return a user of LangGraph Server; MARK's own door adds tenant, groups, clearance and scopes to it."""
    try:
        tenant, groups, clearance = user["tenant"], user["groups"], user["clearance"]
    except KeyError:
        return Caller(user.identity, user.permissions)
    return Caller(user.identity, user.permissions, tenant, groups, clearance, user["scopes"])


def readers_of(caller: Caller) -> tuple[str, ...]:
    """Return the reader atoms that `caller` holds: `public`, `u:SUBJECT`, and `g:GROUP` for each group.

    Raises:
        DeniedError: for a caller without a subject or a tenant; there is no filter for nobody.
    """
    if not caller.subject or not caller.tenant:
        raise DeniedError(NOBODY)
    return (PUBLIC, f"u:{caller.subject}", *(f"g:{group}" for group in caller.groups))


def owner_of(caller: Caller) -> str:
    """Return what a thread remembers of whoever began it."""
    return ":".join(quote(part, safe="") for part in (caller.tenant, caller.subject))


def tenant_of(owner: str) -> str:
    """Return the tenant of whoever `owner_of` names so."""
    return unquote(owner.partition(":")[0])


def grants_of(caller: Caller, permissions: Iterable[str]) -> list[str]:
    """Return everything that `caller` may do and read, as a run remembers it.

    Args:
        caller: whose run it is.
        permissions: what a policy lets them do.
    """
    cleared = (f"level:{name}" for name in CLASSIFICATIONS[: caller.clearance + 1])
    return sorted((*(f"may:{each}" for each in permissions), *readers_of(caller), *cleared))


def thread_key(caller: Caller, thread: str) -> str:
    """Return the checkpointer's thread id for `caller`'s thread; no caller can name another's."""
    return f"{owner_of(caller)}:{quote(thread, safe='')}"


def cache_scope_of(caller: Caller) -> str:
    """Return whose caches a prompt of `caller` may use: their own, as long as they may read the same.

    Not those of others with the same groups: a prompt holds a question and earlier turns, too, and only
    its caller may read all that it was made from.

    Raises:
        DeniedError: for a caller without a subject or a tenant; nobody has caches.
    """
    return json.dumps([caller.tenant, caller.subject, caller.clearance, *sorted(set(readers_of(caller)))])
