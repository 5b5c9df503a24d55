"""The HTTP endpoints of MARK's own token issuer; clients authenticate to them with their secrets."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749.errors import InvalidClientError, InvalidRequestError, OAuth2Error
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from markgraph.security.caller import Caller
from markgraph.security.issuer.server import Answer, FormRequest, Issuer
from markgraph.security.strangers import ISSUE, REVOKE, Strangers
from markgraph.serving.addresses import address_of

MAX_FORM = 16_384
"""Bytes of a form; a token is the longest thing in one."""


def issuer_routes(issuer: Issuer, strangers: Strangers) -> APIRouter:
    """Return the routes under which `issuer` is reached."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/.well-known/oauth-authorization-server")
    def metadata() -> dict[str, Any]:
        """Say where the other endpoints are."""
        return issuer.metadata()

    @routes.get("/oauth/jwks.json")
    def keys() -> JSONResponse:
        """Publish the keys that tokens are checked with."""
        return JSONResponse(issuer.keys.public(), headers={"cache-control": "public, max-age=60"})

    @routes.post("/oauth/token")
    async def token(request: Request) -> JSONResponse:
        """Issue a token to a client."""
        return await asked(request, ISSUE, issuer.create_token_response)

    @routes.post("/oauth/revoke")
    async def revoke(request: Request) -> JSONResponse:
        """Revoke a token of a client."""

        def answer(form: FormRequest) -> Answer:
            return issuer.create_endpoint_response("revocation", form)  # type: ignore[no-any-return]

        return await asked(request, REVOKE, answer)

    async def asked(request: Request, action: str, answer: Callable[[FormRequest], Answer]) -> JSONResponse:
        """Return what `answer` makes of a posted form, and take that down, if there weren't too many."""
        address = address_of(request)
        await asyncio.to_thread(strangers.attempt, address)
        (status, body, headers), caller = await _answered(request, issuer, answer)
        if caller is None:
            await asyncio.to_thread(strangers.failed, address, action, body["error"])
        else:
            await asyncio.to_thread(strangers.known, address, action, caller)
        return JSONResponse(body, status_code=status, headers=dict(headers))

    return routes


async def _answered(
    request: Request, issuer: Issuer, answer: Callable[[FormRequest], Answer]
) -> tuple[Answer, Caller | None]:
    """Return what `answer` makes of a posted form, without holding up other requests; None: an error."""
    try:
        form = FormRequest(issuer.url, await _form(request), request.headers)
        done = await asyncio.to_thread(answer, form)
        return done, None if "error" in done[1] else form.client.caller
    except OAuth2Error as error:
        return error(), None
    except UnicodeDecodeError:  # Authlib reads a client's credentials as UTF-8
        return InvalidClientError(status_code=401)(), None


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a posted form.

    Raises:
        InvalidRequestError: it is none, is too long, or has a field twice.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise InvalidRequestError("The form is too long.")
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise InvalidRequestError("The body is no form.") from error
    form = dict(fields)
    if len(form) != len(fields):
        raise InvalidRequestError("A field is there twice.")
    return form
