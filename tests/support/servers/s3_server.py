"""A server that speaks as S3: moto's, in a process of its own, and before it a page that injects faults.

Stored objects stay there while the page is away. Signatures are not checked.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from shared.runtime import child
from tests.support.servers.aio_page import AioPage
from tests.support.waiting import patience_s

# The handler in place of S3; None: S3 answers.
Fault = Callable[[web.Request, "S3Page"], Awaitable[web.StreamResponse | None]]
# Headers of one connection, which the page does not pass on.
_NOT_PASSED = {"host", "connection", "content-length", "transfer-encoding", "date", "server"}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "SECRETEXAMPLE", "AWS_REGION": "eu-west-1"}


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's server."""
    log = tmp_path_factory.mktemp("moto") / "moto.log"
    # No settings of AWS itself, which could lead its requests there.
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = child.spawn([sys.executable, str(Path(__file__))], log=log, env=env)
    try:
        end = time.monotonic() + patience_s()
        while not (ready := re.search(r"^at (http\S+)$", log.read_text(), re.MULTILINE)):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield ready[1]
    finally:
        process.kill()
        process.wait()


class S3Page(AioPage):
    """Answers as S3 does, while it is entered.

    faults: one for each of the next requests. always: for all the others. requests: `METHOD /path` of each.
    """

    def __init__(self, moto: str) -> None:
        super().__init__()
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.requests: list[str] = []
        self._moto = moto

    @property
    def environment(self) -> dict[str, str]:
        return CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    async def bucket(self) -> str:
        """Create a bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        await self._ask("PUT", f"/{name}")
        return name

    async def unfinished(self, bucket: str) -> list[str]:
        """The ids of uploads that are neither complete nor aborted."""
        return re.findall(r"<UploadId>([^<]+)</UploadId>", await self._ask("GET", f"/{bucket}?uploads"))

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.raw_path}")
        fault = self.faults.pop(0) if self.faults else self.always
        if fault and (answer := await fault(request, self)):
            return answer
        return await self.passed(request)

    async def passed(self, request: web.Request) -> web.Response:
        """The answer of S3."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED}
        url = URL(f"{self._moto}{request.raw_path}", encoded=True)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, headers=headers, data=await request.read()) as answer,
        ):
            given = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED}
            if request.method == "HEAD" and (length := answer.headers.get("Content-Length")):
                given["Content-Length"] = length
            return web.Response(status=answer.status, headers=given, body=await answer.read())

    async def _ask(self, method: str, path: str) -> str:
        async with aiohttp.ClientSession() as session, session.request(method, f"{self._moto}{path}") as answer:
            text = await answer.text()
            assert answer.status == 200, text
            return text


def refused(status: int, code: str) -> Fault:
    """An error in S3's format; code "": without a body."""

    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>In words</Message></Error>"
    return failing(status, text if code else "")


def of(method: str, fault: Fault) -> Fault:
    """Restrict the fault to requests of `method`."""

    async def some(request: web.Request, page: S3Page) -> web.StreamResponse | None:
        return await fault(request, page) if request.method == method else None

    return some


def failing(status: int, text: str) -> Fault:
    """An answer with a custom text."""

    async def fault(request: web.Request, page: S3Page) -> web.Response:
        return web.Response(status=status, text=text, content_type="application/xml")

    return fault


async def passed(request: web.Request, page: S3Page) -> None:
    """No fault."""


async def hanging(request: web.Request, page: S3Page) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def done_unsaid(request: web.Request, page: S3Page) -> web.Response:
    """Process the request, and break the connection before the answer."""
    answer = await page.passed(request)
    if request.transport:
        request.transport.abort()
    return answer


async def cut(request: web.Request, page: S3Page) -> web.StreamResponse:
    """Break the connection in the middle of the answer."""
    whole = await page.passed(request)
    body = whole.body
    assert isinstance(body, bytes)
    answer = web.StreamResponse(status=whole.status, headers={**whole.headers, "Content-Length": str(len(body))})
    await answer.prepare(request)
    await answer.write(body[: len(body) // 2])
    if request.transport:
        request.transport.abort()
    return answer


def _serve() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"at http://{host}:{port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    _serve()
