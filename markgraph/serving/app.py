"""The HTTP application: LangServe over compiled graphs, and /health."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from markgraph.errors import (
    ApprovalNeededError,
    DeniedError,
    EmptyIndexError,
    MarkError,
    MissingExtraError,
    ProviderError,
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
from markgraph.security.doors import Door, headers_of
from markgraph.serving.headers import SecurityHeaders
from markgraph.serving.runnable import ASKING, Asked, Asking, served

CLOSED: Any = ("feedback", "public_trace_link", "token_feedback")
"""LangServe's routes that nobody needs; its annotation lacks the last."""
Admission = Callable[[Request], Awaitable[None]]
UNAUTHENTICATED = 401
STATUS: Mapping[type[MarkError], int] = {
    UnauthenticatedError: UNAUTHENTICATED,
    DeniedError: 403,
    ApprovalNeededError: 409,
    EmptyIndexError: 409,
    UsageError: 422,
    ProviderError: 503,
    StorageError: 507,
}
"""The HTTP status of each error; the first class that fits counts, anything else is a 500."""


def create_app(graphs: Mapping[str, Graph], door: Door) -> FastAPI:
    """Return an application that serves each graph under its name.

    Threads: a client that sends `X-Thread-Id` goes on with its own thread of that name, where the
    graph has a checkpointer. No header, no thread: nothing of the request is kept.
    """
    app = FastAPI(title="MARK", version=version("markgraph"), docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(door.hosts))
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(MarkError, _explain)
    app.add_exception_handler(RequestValidationError, _explain_input)

    async def admitted(request: Request) -> None:
        """Let a request in as its caller's; this dependency stands before every route but /health.

        From here on `ASKING.get().caller` is who asks.
        """
        client = request.client.host if request.client else None
        caller = await asyncio.to_thread(door.admit, client, headers_of(request.scope["headers"]))
        ASKING.set(Asking(caller, request.headers.get("x-thread-id")))

    _add_own_routes(app, graphs, door, admitted)
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
    return app


def _add_own_routes(app: FastAPI, graphs: Mapping[str, Graph], door: Door, admitted: Admission) -> None:
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

        app.include_router(issuer_routes(door.issuer))
    if door.login:
        from markgraph.serving.login import login_routes

        app.include_router(login_routes(door.login, admitted))
        app.add_exception_handler(UnauthenticatedError, _send_to_login)


async def _send_to_login(request: Request, error: Exception) -> Response:
    """Send people who open a page to the login; programs get to know what is missing."""
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    path = request.scope["path"]
    if wants_page and not path.startswith("/login"):
        return RedirectResponse(f"/login?{urlencode({'next': path})}", status_code=303)
    return await _explain(request, error)


async def _explain(_: Request, error: Exception) -> JSONResponse:
    """Answer with the error's own words."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    headers = {"www-authenticate": 'Bearer realm="markgraph"'} if status == UNAUTHENTICATED else None
    return JSONResponse({"detail": str(error)}, status_code=status, headers=headers)


async def _explain_input(_: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a body, without sending it back: it may hold what JSON can't."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [
        {"loc": problem["loc"], "msg": problem["msg"]} if isinstance(problem, dict) else str(problem)
        for problem in problems
    ]
    return JSONResponse({"detail": detail}, status_code=422)
