"""Requests and replies over core NATS as NATS micro services: discoverable, counted, errors in headers.

Example:
    service = await serve(client, "tidegate-search", "finds moments", {"find": (names.FIND, handler)})
    answer = await ask(client, names.FIND, payload, timeout_s=10)
    await service.stop()
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import TypeAlias, TypeVar

import msgspec
import nats.errors
from nats import micro
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER, Request, ServiceError
from nats.micro.service import Service

from shared.runtime.errors import Refusal, TidegateError
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

T = TypeVar("T")


class NobodyAnswers(TidegateError):
    """No service subscribes to the subject, or none answered in time."""


# Returns the payload of the reply and its headers. Raises Refusal; any other exception is answered as 500.
Handler: TypeAlias = Callable[[bytes], Awaitable[tuple[bytes, dict[str, str]]]]


async def serve(
    client: Client,
    name: str,
    description: str,
    endpoints: Mapping[str, tuple[str, Handler]],
    *,
    metadata: Mapping[str, str] | None = None,
    parallel: int = 1,
    waiting: set[asyncio.Task[None]] | None = None,
) -> Service:
    """Answer requests on each endpoint's subject until the service is stopped. Each request gets one of its servers.

    parallel: concurrent requests per endpoint; nats-py answers those of one subscription in turn. waiting: for slow
    answers, without a limit. The set holds a task for each unanswered request; the caller that stops the service ends
    them.
    """
    service = await micro.add_service(
        client, name=name, version=semantic(version("tidegate")), description=description, metadata=dict(metadata or {})
    )
    for endpoint, (subject, handler) in endpoints.items():
        for n in range(parallel):
            part = f"{endpoint}-{n + 1}" if parallel > 1 else endpoint
            answering = _answering(name, handler)
            await service.add_endpoint(
                name=part, subject=subject, handler=answering if waiting is None else _in_tasks(answering, waiting)
            )
    return service


def semantic(version: str) -> str:
    """Return a version of Python's form in the form that NATS demands: 0.3.0-dev.0 for 0.3.0.dev0."""
    return re.sub(r"\.?(dev|rc)(\d+)$", r"-\1.\2", version)


async def ask(client: Client, subject: str, payload: bytes, *, timeout_s: float) -> Msg:
    """Send a request; return the reply. Raises Refusal if it is an error, NobodyAnswers if none comes."""
    try:
        answer: Msg = await client.request(subject, payload, timeout=timeout_s)
    except nats.errors.NoRespondersError as e:
        raise NobodyAnswers(f"nobody answers on {subject}") from e
    except (TimeoutError, nats.errors.Error) as e:
        raise NobodyAnswers(f"no answer on {subject} within {timeout_s:g} s") from e
    headers = answer.headers or {}
    if ERROR_HEADER in headers:
        raise Refusal(_code(headers.get(ERROR_CODE_HEADER, "")), _line(headers[ERROR_HEADER]))
    return answer


async def refuse(client: Client, message: Msg, why: Refusal) -> None:
    """Answer a request with an error, as `serve` does."""
    headers = {ERROR_HEADER: _line(str(why)), ERROR_CODE_HEADER: str(why.code)}
    await client.publish(message.reply, b"", headers=headers)


def read(answer: Msg, kind: type[T]) -> T:
    """Decode a reply. Raises TidegateError if it is not of this kind."""
    try:
        return msgspec.json.decode(answer.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise TidegateError(f"the answer can't be read ({e}): does a service of another version run?") from e


def _answering(name: str, handler: Handler) -> Callable[[Request], Awaitable[None]]:
    log = logger(name)

    async def answer(request: Request) -> None:
        try:
            payload, headers = await handler(request.data)
        except Refusal as e:
            raise ServiceError(str(e.code), _line(str(e))) from e
        except Exception as e:
            log.exception("a request failed", subject=request.subject)
            raise ServiceError("500", _line(repr(e))) from e
        await request.respond(payload, headers or None)

    return answer


def _in_tasks(
    answering: Callable[[Request], Awaitable[None]], waiting: set[asyncio.Task[None]]
) -> Callable[[Request], Awaitable[None]]:
    async def answer(request: Request) -> None:
        try:
            await answering(request)
        except ServiceError as e:
            await request.respond_error(e.code, e.description)
        except asyncio.CancelledError:
            await request.respond_error("503", "the service stops: ask again")
            raise

    async def begin(request: Request) -> None:
        task = asyncio.create_task(answer(request))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    return begin


def _code(text: str) -> int:
    """Return a reply's code, for metrics; 500 if it is no HTTP status."""
    return int(text) if text.isascii() and text.isdigit() and len(text) == 3 and text[0] in "345" else 500


def _line(text: str) -> str:
    """Return `text` as one line for a header, without credentials."""
    return plain(redact(text))[:1000]
