"""Who may do what on LangGraph Server (`langgraph dev`): callers whom the configured door admits.

Everything that is not allowed here is denied. A caller's roles become the user's permissions.
"""

import asyncio
from typing import Any

from langgraph_sdk import Auth
from starlette.exceptions import HTTPException

from markgraph.build import compose, make, make_services
from markgraph.environment import server_overrides
from markgraph.errors import DeniedError, LimitError, ProviderError, StorageError
from markgraph.security.caller import Caller, cache_scope_of, owner_of, server_caller
from markgraph.security.counters import MemoryCounters
from markgraph.security.doors import Door, LocalDoor, headers_of
from markgraph.security.guard import Guard
from markgraph.security.limits import Limits
from markgraph.security.policy import Need, Resource
from markgraph.security.strangers import Strangers
from markgraph.serving.langgraph_limits import count_request, too_many

STUDIO = "https://smith.langchain.com"
"""Where the Studio page comes from; its requests still come from this machine."""
CONFIGURABLE = frozenset({"thread_id", "checkpoint_id", "checkpoint_ns", "graph_id", "assistant_id"})
"""What a client may put into `configurable`; everything else there is a server's or nobody's."""
LOOKS = ("read", "search", "get", "list_namespaces")
"""Actions that change nothing."""
SERVER_PREFIXES = ("langgraph_", "__")

# Composed at import, like the graphs in graphs/studio.py: a request must not wait for files to be read.
_CONFIG = compose("serve", server_overrides())
_DOOR: Door = make(_CONFIG, "auth")
_LIMITS: Limits | None = make(_CONFIG, "limits")
_GUARD = Guard(*make_services(_CONFIG, "policy", "audit"))
_STRANGERS = Strangers(_GUARD.audit, _DOOR.attempts, _LIMITS.counters if _LIMITS else MemoryCounters())

auth = Auth()
Refused = Auth.exceptions.HTTPException


@auth.authenticate
async def authenticate(scope: dict[str, Any]) -> dict[str, Any]:
    """Let a request in as the caller's whom the door finds in it."""
    try:
        caller = await asyncio.to_thread(_caller, scope)
        owner = cache_scope_of(caller)
    except DeniedError as error:
        challenge = {"www-authenticate": 'Bearer realm="markgraph"'}
        raise Refused(status_code=401, detail=str(error), headers=challenge) from error
    except ProviderError as error:
        raise Refused(status_code=503, detail=str(error)) from error
    except LimitError as error:
        raise too_many(error) from error
    except StorageError as error:
        raise HTTPException(503, "The server's log can't be written now. Try again later.") from error
    await count_request(_LIMITS, caller, scope)
    return {
        "identity": caller.subject,
        "permissions": list(caller.roles),
        "is_authenticated": True,
        "owner": owner,
        "namespace": _label(caller),
        "tenant": caller.tenant,
        "groups": list(caller.groups),
        "clearance": caller.clearance,
        "scopes": None if caller.scopes is None else list(caller.scopes),
    }


def _caller(scope: dict[str, Any]) -> Caller:
    """Return whom the door finds in a request, and take it down if that is nobody."""
    address = (scope.get("client") or (None,))[0]
    with _STRANGERS.entering(address):
        headers = headers_of(scope.get("headers", []))
        if isinstance(_DOOR, LocalDoor) and headers.get("origin") == STUDIO:
            del headers["origin"]
        return _DOOR.admit(address, headers)


def _label(caller: Caller) -> str:
    """Return the first label of a caller's namespaces in the store; labels have no full stops."""
    return owner_of(caller).replace(".", "%2E")


@auth.on
async def deny(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:  # noqa: ARG001
    """Deny what no other handler allows."""
    return False


@auth.on.threads
async def own_threads(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, str]:
    """Let people see and change their own threads, as long as they may read what they might read then.

    The server hands out a thread's state as it was kept, and that holds passages and earlier answers.
    """
    await _require(ctx, "threads:read" if ctx.action in LOOKS else "threads:write", "thread")
    owner = {"owner": ctx.user["owner"]}
    value.setdefault("metadata", {}).update(owner)
    return owner


async def _require(ctx: Auth.types.AuthContext, action: str, kind: str) -> None:
    """Refuse a user who lacks a permission; the audit log has either."""
    need = Need(action, Resource(kind))
    try:
        await asyncio.to_thread(_GUARD.require, server_caller(ctx.user), need)
    except DeniedError as error:
        raise Refused(status_code=403, detail=str(error)) from error


@auth.on.threads.update
async def own_cancels(ctx: Auth.types.AuthContext, value: Auth.types.ThreadsUpdate) -> Any:
    """Let people stop their own runs. Deny writing state from outside: nodes write it, and nobody else."""
    if value.get("action") != "interrupt":  # a rollback would unmake what the run has done
        return False
    await _require(ctx, "threads:write", "thread")
    return {"owner": ctx.user["owner"]}


@auth.on.threads.create_run
async def own_runs(ctx: Auth.types.AuthContext, value: Auth.types.RunsCreate) -> dict[str, str]:
    """Let people run graphs on their own threads, without steering them past a node."""
    asked: dict[str, Any] = value.get("kwargs") or {}
    command = asked.get("command") or {}
    if command.get("update") is not None or command.get("goto"):
        raise Refused(status_code=403, detail="command.update and command.goto are not allowed; resume is.")
    if asked.get("webhook"):
        raise Refused(status_code=403, detail="Webhooks are not allowed.")
    if value.get("after_seconds"):  # nobody would be asking then: who asks may have lost what it takes
        raise Refused(status_code=403, detail="A run begins at once; after_seconds is not allowed.")
    if value.get("multitask_strategy") == "rollback":
        raise Refused(
            status_code=403, detail="A rollback would unmake what a run has done. Allowed: interrupt."
        )
    if asked.get("interrupt_before") or asked.get("interrupt_after"):
        raise Refused(status_code=403, detail="A run is stopped by its own nodes only.")
    # The server keeps a thread for every run, and hands its state out as the answer.
    await _require(ctx, "threads:write", "thread")
    await _require(ctx, "threads:read", "thread")
    configurable = (asked.get("config") or {}).get("configurable") or {}
    foreign = [key for key in configurable if key not in CONFIGURABLE and not _is_the_servers(key)]
    if foreign:
        raise Refused(status_code=422, detail=f"Unknown configurable keys: {', '.join(sorted(foreign))}.")
    owner = {"owner": ctx.user["owner"]}
    value.setdefault("metadata", {}).update(owner)
    return owner


def _is_the_servers(key: str) -> bool:
    """Tell a key that the server adds to every run; what steers LangGraph itself is not among them."""
    return key.startswith(SERVER_PREFIXES) and not key.startswith("__pregel")


@auth.on.assistants
async def read_assistants(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:  # noqa: ARG001
    """Let people list the graphs that are served, and run them."""
    return ctx.action in ("read", "search")


@auth.on.crons
async def no_crons(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:  # noqa: ARG001
    """Deny runs at set times: nobody would be asking then."""
    return False


@auth.on.store
async def own_namespaces(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    """Put whatever people store, and look for, below a namespace of their own."""
    await _require(ctx, "threads:read" if ctx.action in LOOKS else "threads:write", "store")
    value["namespace"] = (ctx.user["namespace"], *(value.get("namespace") or ()))
