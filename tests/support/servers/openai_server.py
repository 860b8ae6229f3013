"""A page of an OpenAI-compatible server, for faults that a real one can't show on request.

Run as a module with PORT and MODEL, it stands in for vLLM in a container, and has one answer to every question.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from tests.support.servers.aio_page import AioPage

Reply = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
GOOD = '{"verdict":"confirmed","confidence":90,"reason":"A person is there."}'


USAGE = {"prompt_tokens": 7, "completion_tokens": 5}


async def respond(
    request: web.Request, text: str, *, cut: bool = False, usage: dict[str, int] | None = None
) -> web.StreamResponse:
    """`text`, streamed as vLLM does. cut: without an end."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for part in (text[: len(text) // 2], text[len(text) // 2 :]):
        piece = {"choices": [{"delta": {"content": part}, "finish_reason": None}]}
        await response.write(b"data: " + msgspec.json.encode(piece) + b"\n\n")
        if cut:
            request.transport.close()  # type: ignore[union-attr]
            return response
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage or USAGE}
    await response.write(b"data: " + msgspec.json.encode(last) + b"\n\ndata: [DONE]\n\n")
    return response


async def good(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return await respond(request, GOOD)


def refused(status: int, message: str = "no", **headers: str) -> Reply:
    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": message}}, status=status, headers=headers)

    return reply


class OpenAiServer(AioPage):
    """replies: for the next requests, one after the other; then `then`. requests: the bodies that came."""

    def __init__(self, *replies: Reply, then: Reply = good, models: list[str] | None = None, base: str = "/v1") -> None:
        super().__init__()
        self.replies = list(replies)
        self.then = then
        self.models = ["fake"] if models is None else models
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.health = 200
        # NIM's page, and the handler of a list of models: other servers have no such pages.
        self.ready = 404
        self.lists = 200
        self.base = base

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base}"

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_get("/health", self._health)
        app.router.add_get(f"{self.base}/health/ready", self._ready)
        app.router.add_get(f"{self.base}/models", self._models)
        app.router.add_post(f"{self.base}/chat/completions", self._complete)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=self.health)

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(status=self.ready)

    async def _models(self, request: web.Request) -> web.Response:
        if self.lists != 200:
            return web.json_response({"error_code": "ENDPOINT_NOT_FOUND", "message": "no"}, status=self.lists)
        return web.json_response({"data": [{"id": model, "max_model_len": 4096} for model in self.models]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = msgspec.json.decode(await request.read())
        self.requests.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        reply = self.replies.pop(0) if self.replies else self.then
        return await reply(request, body)


async def hang(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("unreachable")


async def broken_off(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return await respond(request, GOOD, cut=True)


def text(answer: str) -> Reply:
    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await respond(request, answer)

    return reply


async def _stand_in(port: int, model: str) -> None:
    server = OpenAiServer(then=text('{"answer":"A person is there.","frames":[1]}'), models=[model])
    server.port = port
    reply = asyncio.Event()
    # In a container it is the first process, which SIGTERM ends only by a handler.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, reply.set)
    async with server:
        await reply.wait()


if __name__ == "__main__":
    asyncio.run(_stand_in(int(sys.argv[1]), sys.argv[2]))
