"""Servers with OpenAI's chat completions, on a loopback port, for tests."""

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from langchain_core.messages import convert_to_messages
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from markgraph.models.chat import LocalChatModel

MODEL, KEY = "scripted", "the server's key"


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve `app` on a free port of this machine, and give the address under which the protocol begins."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


class ScriptedServer:
    """Answers with a chat model; refuses a wrong key or model as real servers do; keeps what it was sent."""

    def __init__(self, model: LocalChatModel, key: str | None = None) -> None:
        self.model, self.key, self.asked = model, key, list[dict[str, Any]]()
        self.headers: list[dict[str, str]] = []
        self.answer_with: Response | None = None
        """What it answers to everything, once it is set."""
        self.break_off = False
        """Whether a stream ends in the middle."""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self.complete, methods=["POST"])])

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        if self.answer_with:
            return self.answer_with
        if self.key and request.headers["authorization"] != f"Bearer {self.key}":
            return refusal(401, "Invalid key.")
        if body["model"] != MODEL:
            return refusal(404, f"The model {body['model']} does not exist.")
        if body.get("stream"):
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        message = await self._bound(body).ainvoke(convert_to_messages(body["messages"]))
        answer = {"role": "assistant", "content": message.text}
        return JSONResponse(
            reply(usage=usage_of(message), choices=[{"index": 0, "message": answer, "finish_reason": "stop"}])
        )

    def _bound(self, body: dict[str, Any]) -> Any:
        return self.model.bind(max_tokens=body["max_tokens"], stop=body.get("stop"))

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        usage = None
        async for chunk in self._bound(body).astream(convert_to_messages(body["messages"])):
            usage = usage_of(chunk) or usage
            delta = {"role": "assistant", "content": chunk.text}
            yield event(reply(choices=[{"index": 0, "delta": delta, "finish_reason": None}]))
            if self.break_off:
                raise ConnectionAbortedError
        yield event(reply(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
        if body.get("stream_options", {}).get("include_usage"):
            yield event(reply(choices=[], usage=usage))
        yield "data: [DONE]\n\n"


def refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "error", "code": None}}, status)


def elsewhere() -> Response:
    return RedirectResponse("http://192.0.2.1/v1/chat/completions", 307)


def reply(**fields: Any) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL} | fields


def event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def usage_of(message: Any) -> dict[str, int] | None:
    if not (usage := message.usage_metadata):
        return None
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }
