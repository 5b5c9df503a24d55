"""Guards the application against bodies without end, and clients that dawdle or go away."""

import asyncio
import json
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DISCONNECT: Message = {"type": "http.disconnect"}


class _RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class RequestBounds:
    """ASGI middleware: reads a body up to a size and a time, and cancels a request whose client is gone.

    Does not include: WebSockets, which pass; bodies that are larger than memory allows to hold.
    """

    app: ASGIApp
    max_body: int = 1024 * 1024
    """Bytes."""
    patience: float = 30.0
    """Seconds that a client may take to send its body, and then to take each piece of the answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except _RefusedError as refused:
            await _refuse(send, refused.status, str(refused))
            return
        if body is not None:
            await _Exchange(receive, send, body, self.patience).run(self.app, scope)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body; None when the client went away."""
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if int(announced) > self.max_body:
            raise self._too_large()
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self.patience):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self.max_body:
                        raise self._too_large()
        except TimeoutError as error:
            raise _RefusedError(408, f"The body did not arrive within {self.patience:g} s.") from error
        return bytes(body)

    def _too_large(self) -> _RefusedError:
        return _RefusedError(413, f"The body is too large. Allowed: {self.max_body} bytes.")


class _Exchange:
    """One request whose body is there, and its answer."""

    def __init__(self, receive: Receive, send: Send, body: bytes, patience: float) -> None:
        self._receive, self._send, self._patience = receive, send, patience
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self._is_answered = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run `app`, until it is done or nobody waits for it any more."""
        work = asyncio.ensure_future(app(scope, self.receive, self.send))
        watch = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if self._gone.is_set() and not self._is_answered:
                work.cancel()
            await asyncio.wait({work})
        finally:
            work.cancel()
            watch.cancel()
        error = None if work.cancelled() else work.exception()
        if error is not None and not self._gone.is_set():
            raise error

    async def receive(self) -> Message:
        """Give the body, then wait until the client is gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return DISCONNECT

    async def send(self, message: Message) -> None:
        """Send a piece of the answer to a client that takes it in time."""
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            self._gone.set()
            raise
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._is_answered = True

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": body})
