"""The pages by which browsers log in and out."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from itsdangerous import BadData, URLSafeTimedSerializer

from markgraph.errors import UnauthenticatedError
from markgraph.security.strangers import LOG_IN, Strangers
from markgraph.security.tokens.login import Login
from markgraph.serving.addresses import address_of

ATTEMPT = "mark_login"
ATTEMPT_SECONDS = 600
_OWN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)*/?")
"""A path on this server: `//elsewhere` would be another host."""
_LANDING = '<!doctype html><meta http-equiv="refresh" content="0; url={path}"><title>MARK</title>'


def login_routes(
    login: Login, admitted: Callable[[Request], Awaitable[None]], strangers: Strangers
) -> APIRouter:
    """Return the routes of the login; `admitted` is what lets requests in."""
    routes = APIRouter(include_in_schema=False)
    # Lost when the server ends, and with it the attempts that are under way.
    signed = URLSafeTimedSerializer(secrets.token_bytes(32))

    @routes.get("/login")
    async def begin(request: Request, goes_on: Annotated[str, Query(alias="next")] = "/") -> Response:
        """Send the browser to the identity provider."""
        await asyncio.to_thread(strangers.attempt, address_of(request))
        url, attempt = await asyncio.to_thread(login.begin)
        response = RedirectResponse(url, status_code=303)
        attempt["next"] = goes_on if _OWN_PATH.fullmatch(goes_on) else "/"
        _set_cookie(response, login, ATTEMPT, signed.dumps(attempt), ATTEMPT_SECONDS)
        return response

    @routes.get("/login/callback")
    async def finish(request: Request) -> Response:
        """Begin a session for whom the identity provider names."""
        attempt, cookie = await asyncio.to_thread(_finished, request, login, signed, strangers)
        # Not a redirect: after one, the browser would still take the request for another site's.
        response = HTMLResponse(_LANDING.format(path=attempt["next"]))
        _set_cookie(response, login, login.cookie, cookie, int(login.sessions.seconds))
        response.delete_cookie(ATTEMPT)
        return response

    @routes.post("/logout", dependencies=[Depends(admitted)])
    async def end(request: Request) -> Response:
        """End the session."""
        await asyncio.to_thread(login.sessions.end, request.cookies.get(login.cookie, ""))
        response = Response(status_code=204)
        response.delete_cookie(login.cookie, secure=login.secure, httponly=True, samesite="lax")
        return response

    return routes


def _finished(
    request: Request, login: Login, signed: URLSafeTimedSerializer, strangers: Strangers
) -> tuple[dict[str, str], str]:
    """Return what a login began with, and the cookie of its session, once that is taken down.

    Raises:
        UnauthenticatedError: it was begun elsewhere, or the provider's word is not to be trusted.
    """
    address = address_of(request)
    strangers.attempt(address)
    try:
        attempt: dict[str, str] = signed.loads(request.cookies.get(ATTEMPT, ""), max_age=ATTEMPT_SECONDS)
        cookie = login.finish(attempt, dict(request.query_params))
    except BadData as error:
        strangers.failed(address, LOG_IN, type(error).__name__)
        raise UnauthenticatedError("No login is under way in this browser. Begin at /login.") from error
    except UnauthenticatedError as error:
        strangers.failed(address, LOG_IN, type(error).__name__)
        raise
    strangers.known(address, LOG_IN, login.sessions.caller(cookie))
    return attempt, cookie


def _set_cookie(response: Response, login: Login, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=login.secure, httponly=True, samesite="lax"
    )
