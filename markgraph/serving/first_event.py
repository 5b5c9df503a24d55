"""Gives an event stream that fails before its first event the status of its error."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from markgraph.errors import MarkError

Explain = Callable[[MarkError], ASGIApp]


@dataclass(frozen=True)
class FirstEvent:
    """ASGI middleware: sends the head of an event stream with its first event.

    LangServe answers 200 before a run begins, and then has no other word for a denial, a limit or a store
    that is away than an event that says 500. What fails later in a stream still ends with that event.
    """

    app: ASGIApp
    explain: Explain
    """Makes the answer to an error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        held = _Held(send)
        try:
            await self.app(scope, receive, held.send)
        except Exception as error:
            known = next(_known(error), None)
            if known is None or not held.messages:
                raise
            await self.explain(known)(scope, receive, send)
            return
        await held.let_go()


class _Held:
    """Messages of a stream that has said nothing yet, but perhaps that it failed."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        """Send a message, or hold it."""
        is_head = message["type"] == "http.response.start" and _is_event_stream(message)
        if is_head or (self.messages and _says_nothing(message)):
            self.messages.append(message)
            return
        await self.let_go()
        await self._send(message)

    async def let_go(self) -> None:
        """Send what was held."""
        messages, self.messages = self.messages, []
        for message in messages:
            await self._send(message)


def _is_event_stream(head: Message) -> bool:
    kind: bytes = dict(head["headers"]).get(b"content-type", b"")
    return kind.startswith(b"text/event-stream")


def _says_nothing(message: Message) -> bool:
    body: bytes = message.get("body", b"")
    return not body or body.startswith(b"event: error")


def _known(error: BaseException | None) -> Iterator[MarkError]:
    """Yield the errors of ours among an error, what it groups, and what it came from."""
    if isinstance(error, MarkError):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _known(one)
    elif error is not None:
        yield from _known(error.__cause__)
