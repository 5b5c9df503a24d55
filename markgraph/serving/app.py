"""The HTTP application: LangServe over compiled graphs, and /health."""

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from markgraph.errors import (
    ApprovalNeededError,
    DeniedError,
    EmptyIndexError,
    EngineError,
    FullDiskError,
    LimitError,
    MarkError,
    MissingExtraError,
    OverloadedError,
    ProviderError,
    SandboxError,
    StorageError,
    UnauthenticatedError,
    UsageError,
)

try:
    from fastapi import Depends, FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, RedirectResponse, Response
    from langserve import add_routes
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ImportError as error:
    raise MissingExtraError(
        "Serving needs FastAPI and LangServe: pip install 'markgraph[serve]'. "
        "LangServe has a licence of its own."
    ) from error

from markgraph.build import Graph
from markgraph.feedback.desk import Desk
from markgraph.security.caller import Caller
from markgraph.security.counters import MemoryCounters
from markgraph.security.doors import Door, headers_of
from markgraph.security.guard import Guard
from markgraph.security.limits import Limits
from markgraph.security.policy import Need, Resource
from markgraph.security.strangers import Strangers
from markgraph.serving.addresses import address_of
from markgraph.serving.bodies import check_body
from markgraph.serving.bounds import RequestBounds
from markgraph.serving.feedback import feedback_routes
from markgraph.serving.first_event import FirstEvent
from markgraph.serving.headers import SecurityHeaders
from markgraph.serving.playground import check_file
from markgraph.serving.runnable import ASKING, Asked, Asking, served

logger = logging.getLogger(__name__)
Admission = Callable[[Request], Awaitable[None]]
UNAUTHENTICATED = 401
STATUS: Mapping[type[MarkError], int] = {
    UnauthenticatedError: UNAUTHENTICATED,
    DeniedError: 403,
    ApprovalNeededError: 409,
    EmptyIndexError: 409,
    UsageError: 422,
    SandboxError: 422,
    LimitError: 429,
    OverloadedError: 503,
    ProviderError: 503,
    EngineError: 503,
    FullDiskError: 507,
    StorageError: 503,
}
"""The HTTP status of each error; the first class that fits counts, anything else is a 500."""
CLOSED: Any = ["feedback", "public_trace_link", "token_feedback", "config_hashes"]
"""Endpoints of LangServe that nobody needs; its annotation knows only some of the names that it takes."""
RETRY_AFTER = 5
"""Seconds after which a client is told to try a 503 again."""


def create_app(
    graphs: Mapping[str, Graph],
    door: Door,
    guard: Guard,
    limits: Limits | None = None,
    desk: Desk | None = None,
) -> FastAPI:
    """Return an application that serves each graph under its name, to each caller within `limits`.

    Threads: a client that sends `X-Thread-Id` goes on with its own thread of that name, where the
    graph has a checkpointer, and may rate its answers at the `desk`. No header, no thread: nothing of the
    request is kept.
    """
    app = FastAPI(title="MARK", version=version("markgraph"), docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(door.hosts))
    app.add_middleware(FirstEvent, explain=_answer_to)
    app.add_middleware(RequestBounds)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(MarkError, _explain)
    app.add_exception_handler(RequestValidationError, _explain_input)
    app.add_exception_handler(ValidationError, _explain_input)  # LangServe's own, of a batch

    counters = limits.counters if limits else MemoryCounters()
    strangers = Strangers(guard.audit, door.attempts, counters)
    admitted = _admission(door, guard, limits, strangers)
    _add_own_routes(app, graphs, door, admitted, strangers)
    if desk:
        app.include_router(feedback_routes(desk, graphs, admitted))
    _add_graphs(app, graphs, admitted)
    return app


def _admission(door: Door, guard: Guard, limits: Limits | None, strangers: Strangers) -> Admission:
    """Return the dependency that stands before every route but /health."""

    def who(request: Request) -> Caller:
        client = address_of(request)
        with strangers.entering(client):
            return door.admit(client, headers_of(request.scope["headers"]))

    async def admitted(request: Request) -> None:
        """Let a request in as its caller's: from here on `ASKING.get().caller` is who asks."""
        caller = await asyncio.to_thread(who, request)
        asking = await _asking(request, caller, limits)
        if asking.thread:
            await asyncio.to_thread(guard.require, caller, Need("threads:write", Resource("thread")))
        ASKING.set(asking)
        check_file(request.path_params.get("file_path", ""))

    return admitted


def _add_graphs(app: FastAPI, graphs: Mapping[str, Graph], admitted: Admission) -> None:
    """Mount LangServe's routes for each graph."""
    for name, graph in graphs.items():
        with warnings.catch_warnings():
            # LangServe reads attributes that pydantic and LangGraph have renamed since.
            warnings.simplefilter("ignore", DeprecationWarning)
            add_routes(
                app,
                served(graph),
                path=f"/{name}",
                input_type=Asked,
                config_keys=(),
                dependencies=[Depends(admitted)],
                disabled_endpoints=CLOSED,
            )
    app.router.on_startup.clear()  # LangServe's banner


def _add_own_routes(
    app: FastAPI, graphs: Mapping[str, Graph], door: Door, admitted: Admission, strangers: Strangers
) -> None:
    """Add the routes that are not a graph's."""

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Say that the server is up, and what it serves."""
        return {"status": "ok", "version": version("markgraph"), "graphs": sorted(graphs)}

    @app.get("/openapi.json", dependencies=[Depends(admitted)], include_in_schema=False)
    def schema() -> dict[str, Any]:
        """Describe the routes; FastAPI's own route would do so for everybody."""
        return app.openapi()

    if door.issuer:
        from markgraph.serving.issuer import issuer_routes

        app.include_router(issuer_routes(door.issuer, strangers))
    if door.login:
        from markgraph.serving.login import login_routes

        app.include_router(login_routes(door.login, admitted, strangers))
        app.add_exception_handler(UnauthenticatedError, _send_to_login)


async def _send_to_login(request: Request, error: Exception) -> Response:
    """Send people who open a page to the login; programs get to know what is missing."""
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    path = request.scope["path"]
    if wants_page and not path.startswith("/login"):
        return RedirectResponse(f"/login?{urlencode({'next': path})}", status_code=303)
    return await _explain(request, error)


async def _asking(request: Request, caller: Caller, limits: Limits | None) -> Asking:
    """Return who asks and in which thread, once the request is counted and its body is known to be sound.

    Raises:
        LimitError: the caller has used their share.
        RequestValidationError: the body is not what anything behind could read.
    """
    if limits:
        await limits.acheck_request(caller, starts_run=request.method == "POST")
    body = await request.body()
    try:
        if body:
            check_body(body)
    except ValueError as error:
        raise RequestValidationError([str(error)]) from error
    runs = limits.rates(caller).runs if limits else None
    return Asking(caller, request.headers.get("x-thread-id"), runs)


async def _explain(_: Request, error: Exception) -> JSONResponse:
    """Answer with the error's own words."""
    return _answer_to(error)


def _answer_to(error: Exception) -> JSONResponse:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    detail = str(error)
    if isinstance(error, StorageError) and not isinstance(error, FullDiskError):
        # Which store, and where, is the operator's to know.
        logger.error("%s", error)
        detail = "Something that this server keeps its data in can't be used now. Try again later."
    headers = {}
    if status == UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="markgraph"'
    if status in (429, 503):
        headers["retry-after"] = str(error.retry_after if isinstance(error, LimitError) else RETRY_AFTER)
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


async def _explain_input(_: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a body, without sending it back: it may hold what JSON can't."""
    problems = error.errors() if isinstance(error, RequestValidationError | ValidationError) else []
    detail = [
        {"loc": problem["loc"], "msg": problem["msg"], "type": problem["type"]}
        if isinstance(problem, dict)
        else {"loc": ["body"], "msg": str(problem), "type": "value_error"}
        for problem in problems
    ]
    return JSONResponse({"detail": detail}, status_code=422)
