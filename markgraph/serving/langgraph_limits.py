"""How many requests a caller may send to LangGraph Server.

What a run may use is kept by its graph; see `markgraph.security.limits`.
"""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException

from markgraph.errors import LimitError
from markgraph.security.caller import Caller
from markgraph.security.limits import Limits


async def count_request(limits: Limits | None, caller: Caller, scope: Mapping[str, Any]) -> None:
    """Count a request of `caller`.

    Args:
        limits: what a caller may use.
        caller: who sends the request.
        scope: the request, in ASGI's form.

    Raises:
        HTTPException: 429, with Retry-After; the caller has used their share.
    """
    if limits is None:
        return
    starts_run = scope.get("method") == "POST" and "/runs" in str(scope.get("path", ""))
    try:
        await limits.acheck_request(caller, starts_run=starts_run)
    except LimitError as error:
        raise too_many(error) from error


def too_many(error: LimitError) -> HTTPException:
    """Return what LangGraph Server answers a client with who has asked too often.

    Not its own exception: in authentication the server makes a 500 of any but 401 and 403.
    """
    return HTTPException(429, str(error), {"Retry-After": str(error.retry_after)})
