"""An OpenAI-compatible server: one request, streamed, with what it cost, and whether the server is well.

    async with ModelEndpoint("http://127.0.0.1:8000/v1", key=lambda: "", timeout_s=120) as endpoint:
        card = await endpoint.look()                 # is it there, and what has it?
        completion = await endpoint.complete(body)   # body: of /chat/completions

Errors say whose fault it was: `Away` and `Busy` are the server's, `Rejected` and `TooLong` the request's, and of a
`RequestFailed` nobody knows. Retries are left to the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from shared.contract.bounds import MOST, Name
from shared.runtime.errors import Away, BadMessage, TidegateError
from shared.runtime.redact import redact

LOOK_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# One piece of an answer has at most this many bytes, and so has all of its text, in characters.
_LINE_BYTES = 1 << 20
# So many bytes are read of an error, and so many of a list of models or of gauges.
_ERROR_BYTES, _PAGE_BYTES = 64 * 1024, 4 * 1024 * 1024
_REASON = 400
# Of vLLM's page of gauges these are read, of so many engines, in lines of at most so many characters.
GAUGES = ("vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc")
_MOST_GAUGES, _GAUGE_LINE = 1000, 4096


class Busy(Away):
    """The server has too much to do. after_s: seconds after which it may be asked again, if it says so."""

    def __init__(self, reason: str, after_s: float | None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class RequestFailed(TidegateError):
    """The server answered with an error of its own, or broke off: the request may be to blame, or the server."""


class Rejected(BadMessage):
    """The server will never take this request."""


class TooLong(Rejected):
    """Question and answer are longer than the model's context."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. finish: `stop`, or `length` where it was cut off. first_token_s, seconds: since the request."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    first_token_s: float
    seconds: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of its models. context: tokens by model, where it says so."""

    models: list[str]
    context: dict[str, int]


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Piece(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Model(msgspec.Struct, frozen=True):
    id: Name
    max_model_len: int | None = None


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model] = []


_piece = msgspec.json.Decoder(_Piece)


class ModelEndpoint:
    """See the module. url: ends in `/v1`. key: is called for every request, so that a renewed key is used."""

    def __init__(self, url: str, *, key: Callable[[], str], timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self.where = redact(self.url)
        self._root = _root(self.url)
        self._key = key
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ModelEndpoint:
        # There are no limits here: the caller decides how many requests are open at once, and for how long.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=LOOK_S),
            # A proxy is for servers beyond this machine.
            trust_env=urlsplit(self.url).hostname not in LOOPBACK,
            read_bufsize=_LINE_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    def _asked(self, method: str, url: str, **more: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Frames and the key are for one address, and an endpoint has no say in where else a worker goes."""
        return self._http.request(method, url, allow_redirects=False, **more)

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """One answer. Raises Away, Busy, RequestFailed, Rejected or TooLong."""
        started = time.perf_counter()
        data = msgspec.json.encode({**body, "stream": True, "stream_options": {"include_usage": True}})
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._asked("POST", f"{self.url}/chat/completions", data=data, headers=self._headers()) as response,
            ):
                if response.status != 200:
                    raise _error(response.status, _text(await _start(response, _ERROR_BYTES)), response.headers)
                return await _read(_pieces(response.content), started)
        except aiohttp.ConnectionTimeoutError as e:
            raise Away(f"{self.where} can't be reached within {LOOK_S:g} s") from e
        except TimeoutError as e:
            raise RequestFailed(f"no answer within VLM_TIMEOUT_S={self._timeout_s:g} s") from e
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as e:
            raise Away(f"{self.where} can't be reached: {redact(str(e) or type(e).__name__)}") from e
        except (aiohttp.ClientError, msgspec.DecodeError, ValueError) as e:
            raise RequestFailed(
                f"the answer broke off or is none: {redact(str(e) or type(e).__name__)[:_REASON]}"
            ) from e

    async def look(self) -> Card:
        """The models that the server has. Raises Away, with the reason, while it can't answer."""
        try:
            async with asyncio.timeout(LOOK_S):
                # vLLM has this page, and it says when its engine has died. Other servers have none.
                async with self._asked("GET", f"{self._root}/health") as response:
                    if response.status >= 500:
                        raise Away(f"{self.where} is not well: /health answers {response.status}")
                async with self._asked("GET", f"{self.url}/models", headers=self._headers()) as response:
                    if 300 <= response.status < 400:
                        raise _redirects(response.status)
                    if response.status in (401, 403):
                        raise Away(f"{self.where} refuses the key ({response.status}): set VLM_KEY or VLM_KEY_FILE")
                    if response.status >= 500 or response.status == 429:
                        raise Away(f"{self.where} is not well: /models answers {response.status}")
                    if response.status != 200:
                        return Card(models=[], context={})
                    models = msgspec.json.decode(await _start(response, _PAGE_BYTES), type=_Models).data
                    return Card(
                        models=[m.id for m in models],
                        context={m.id: m.max_model_len for m in models if m.max_model_len},
                    )
        except TimeoutError as e:
            raise Away(f"{self.where} does not answer within {LOOK_S:g} s") from e
        except aiohttp.ClientError as e:
            raise Away(f"{self.where} can't be reached: {redact(str(e) or type(e).__name__)}") from e
        except (ValueError, RecursionError):  # something else answers there; a request will show what
            return Card(models=[], context={})

    async def load(self) -> dict[str, float]:
        """vLLM's gauges by name, such as `vllm:num_requests_waiting`; empty where the server has none."""
        try:
            async with asyncio.timeout(LOOK_S), self._asked("GET", f"{self._root}/metrics") as response:
                text = _text(await _start(response, _PAGE_BYTES)) if response.status == 200 else ""
            lines = [line for line in text.splitlines() if line.startswith(GAUGES) and len(line) <= _GAUGE_LINE]
            found: dict[str, float] = {}
            for family in text_string_to_metric_families("\n".join(lines[:_MOST_GAUGES])):
                if family.name in GAUGES:
                    found[family.name] = found.get(family.name, 0.0) + sum(sample.value for sample in family.samples)
            return found
        except (TimeoutError, aiohttp.ClientError, ValueError, ArithmeticError):
            return {}

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


def _root(url: str) -> str:
    """The URL of a server's own pages, which are beside `/v1`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.removesuffix("/v1"), query="", fragment=""))


async def _start(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body, or its first bytes where it has more than `most`: whoever answers may never stop."""
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > most:
            break
    return bytes(found[:most])


def _text(body: bytes) -> str:
    return body.decode(errors="replace")


async def _pieces(lines: aiohttp.StreamReader) -> AsyncIterator[_Piece]:
    """Server-sent events, up to the one that says that the answer is complete."""
    async for line in lines:
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            yield _piece.decode(data)
    raise RequestFailed("the answer broke off")


async def _read(pieces: AsyncIterator[_Piece], started: float) -> Completion:
    parts: list[str] = []
    length = 0
    finish, first_s, usage = "", 0.0, _Usage()
    async for piece in pieces:
        if piece.error is not None:
            raise RequestFailed(f"the server's error: {_said(piece.error)}")
        usage = piece.usage or usage
        for choice in piece.choices[:1]:
            if choice.delta.content:
                first_s = first_s or time.perf_counter() - started
                parts.append(choice.delta.content)
                length += len(choice.delta.content)
                if length > _LINE_BYTES:
                    raise RequestFailed(f"the answer has more than {_LINE_BYTES} characters")
            finish = choice.finish_reason or finish
    seconds = time.perf_counter() - started
    return Completion(
        text="".join(parts),
        finish=finish,
        # They are counted and told, whatever the server says.
        prompt_tokens=min(max(usage.prompt_tokens, 0), MOST),
        completion_tokens=min(max(usage.completion_tokens, 0), MOST),
        first_token_s=first_s or seconds,
        seconds=seconds,
    )


def _redirects(status: int) -> Away:
    return Away(f"the endpoint redirects, {status}: set VLM_URL to the address itself")


def _error(status: int, text: str, headers: Mapping[str, str]) -> TidegateError:
    try:
        said = _said(msgspec.json.decode(text))
    except (ValueError, RecursionError):
        said = " ".join(text.split())
    reason = f"{status}: {redact(said)[:_REASON]}"
    if 300 <= status < 400:
        return _redirects(status)
    if status in (429, 503):
        after = headers.get("Retry-After", "")
        return Busy(reason, float(after) if after.isdecimal() else None)
    if status in (401, 403):
        return Away(f"the endpoint refuses the key, {reason}: set VLM_KEY or VLM_KEY_FILE")
    if status == 404:
        return Away(f"the endpoint does not know the model or the path, {reason}: correct VLM_MODEL or VLM_URL")
    if status >= 500:
        return RequestFailed(reason)
    if "context" in said.lower() and ("length" in said.lower() or "token" in said.lower()):
        return TooLong(reason)
    return Rejected(f"the endpoint rejects the request, {reason}")


def _said(body: Any) -> str:
    """The message of an error, in the forms of OpenAI, vLLM and others."""
    if isinstance(body, dict):
        inner = body.get("error", body.get("message", body))
        return str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)
    return str(body)
