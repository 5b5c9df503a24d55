"""The HTTP application: LangServe over compiled graphs, and /health."""

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from markgraph.errors import (
    ApprovalNeededError,
    DeniedError,
    EmptyIndexError,
    MarkError,
    MissingExtraError,
    StorageError,
    UsageError,
)

try:
    from fastapi import Depends, FastAPI, HTTPException, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from langserve import add_routes
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ImportError as error:
    raise MissingExtraError(
        "Serving needs FastAPI and LangServe: pip install 'markgraph[serve]'. "
        "LangServe has a licence of its own."
    ) from error

from markgraph.build import Graph
from markgraph.security.doors import LOCAL_NAMES, Door
from markgraph.security.policy import Policy, Resource
from markgraph.serving.runnable import ASKING, Asked, Asking, served

STATUS: Mapping[type[MarkError], int] = {
    DeniedError: 403,
    ApprovalNeededError: 409,
    EmptyIndexError: 409,
    UsageError: 422,
    StorageError: 507,
}
"""The HTTP status of each error; the first class that fits counts, anything else is a 500."""


def create_app(graphs: Mapping[str, Graph], door: Door, policy: Policy) -> FastAPI:
    """Return an application that serves each graph under its name.

    Threads: a client that sends `X-Thread-Id` goes on with its own thread of that name, where the
    graph has a checkpointer. No header, no thread: nothing of the request is kept.
    """
    app = FastAPI(title="MARK", version=version("markgraph"), docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL_NAMES))
    app.add_exception_handler(MarkError, _explain)
    app.add_exception_handler(RequestValidationError, _explain_input)

    async def admitted(request: Request) -> None:
        """Let a request in as its caller's; this dependency stands before every route of a graph."""
        ASKING.set(_asking(door, policy, request))

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Say that the server is up, and what it serves."""
        return {"status": "ok", "version": version("markgraph"), "graphs": sorted(graphs)}

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
                disabled_endpoints=["feedback", "public_trace_link"],
            )
    app.router.on_startup.clear()  # LangServe's banner
    return app


def _asking(door: Door, policy: Policy, request: Request) -> Asking:
    """Return who sends a request, and in which of their threads."""
    client = request.client.host if request.client else None
    thread = request.headers.get("x-thread-id")
    try:
        caller = door.admit(client, request.headers)
        if thread:
            policy.require(caller, "threads:write", Resource("thread"))
    except DeniedError as error:
        raise HTTPException(403, str(error)) from error
    return Asking(caller, thread)


async def _explain(_: Request, error: Exception) -> JSONResponse:
    """Answer with the error's own words."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"detail": str(error)}, status_code=status)


async def _explain_input(_: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a body, without sending it back: it may hold what JSON can't."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [
        {"loc": problem["loc"], "msg": problem["msg"]} if isinstance(problem, dict) else str(problem)
        for problem in problems
    ]
    return JSONResponse({"detail": detail}, status_code=422)
