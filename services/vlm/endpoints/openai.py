"""An OpenAI-compatible server: one request, streamed, with its cost, and the server's health.

    async with ModelEndpoint("http://127.0.0.1:8000/v1", key=lambda: "", timeout_s=120) as endpoint:
        card = await endpoint.look("a-model")        # its health and its models
        completion = await endpoint.complete(body)   # body: of /chat/completions

Errors are those of `failures`. Retries are left to the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from services.vlm.endpoints import failures
from services.vlm.endpoints.failures import Busy, Cold, Refused, Rejected, RequestFailed
from shared.contract.reading.bounds import MOST, Name
from shared.runtime.errors import Away, TidegateError
from shared.runtime.redact import redact

# Time for a connection, and for each answer about the server itself.
CONNECT_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# The maximum bytes of one piece of an answer, and the maximum characters of all its text.
LINE_BYTES = 1 << 20
# Maximum bytes of an error, and of a list of models or of gauges.
_ERROR_BYTES, PAGE_BYTES = 64 * 1024, 4 * 1024 * 1024
# The gauges that we read from vLLM's page, and the maximum number of engines and of characters per line.
GAUGES = ("vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc")
_MOST_GAUGES, _GAUGE_LINE = 1000, 4096


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. finish: `stop`, or `length` if it was cut off. first_token_s, seconds: since the request."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    first_token_s: float
    seconds: float


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A server's models. context: tokens by model, if listed."""

    models: list[str]
    context: dict[str, int]


class Text(msgspec.Struct, frozen=True):
    """A message of the model, or a piece of one."""

    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: Text = Text()
    finish_reason: str | None = None


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of a request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Piece(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: Tokens | None = None
    error: Any = None


class _Model(msgspec.Struct, frozen=True):
    id: Name
    max_model_len: int | None = None


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model] = []


_piece = msgspec.json.Decoder(_Piece)


class ModelEndpoint:
    """See the module. url: the part before `/chat/completions`. key: called for every request, so that a renewed key is
    used.
    """

    def __init__(self, url: str, *, key: Callable[[], str], timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self.where = redact(self.url)
        self._root = _root(self.url)
        self._key = key
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # No limits here: the caller decides the number and duration of open requests.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            # A proxy is for servers beyond this machine.
            trust_env=urlsplit(self.url).hostname not in LOOPBACK,
            read_bufsize=LINE_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None
        return self._session

    def _send(self, method: str, url: str, **more: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send without redirects: frames and the key are for one address only."""
        return self._http.request(method, url, allow_redirects=False, **more)

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """Return one answer. Raises as `failures` lists."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                url, data, headers = await self._request(body)
                async with self._send("POST", url, data=data, headers=headers) as response:
                    if response.status != 200:
                        text = (await start_of(response, _ERROR_BYTES)).decode(errors="replace")
                        raise self._error(response.status, text, response.headers)
                    return await self._answer(response, started)
        except aiohttp.ConnectionTimeoutError as e:
            raise Away(f"{self.where} can't be reached within {CONNECT_S:g} s") from e
        except TimeoutError as e:
            raise RequestFailed(f"no answer within VLM_TIMEOUT_S={self._timeout_s:g} s") from e
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as e:
            raise Away(f"{self.where} can't be reached: {redact(str(e) or type(e).__name__)}") from e
        except (aiohttp.ClientError, msgspec.DecodeError, ValueError) as e:
            raise RequestFailed(
                f"the answer broke off or is none: {redact(str(e) or type(e).__name__)[: failures.REASON]}"
            ) from e

    async def look(self, model: str, *, ask: bool = False) -> Card:
        """Return the server's models. Raises Away, with the reason, while it can't answer.

        model: ours, if known. Request one token from it if the server lists no models, or with `ask`: a server that
        lists models may have none that runs, or may refuse our key.
        """
        card = await self._listed(model)
        if model and (ask or card is None):
            await self._ask(model)
        return card or Card(models=[], context={})

    async def load(self) -> dict[str, float]:
        """Return vLLM's gauges by name, such as `vllm:num_requests_waiting`; empty if the server has none."""
        try:
            async with asyncio.timeout(CONNECT_S), self._send("GET", f"{self._root}/metrics") as response:
                page = await start_of(response, PAGE_BYTES) if response.status == 200 else b""
            text = page.decode(errors="replace")
            lines = [line for line in text.splitlines() if line.startswith(GAUGES) and len(line) <= _GAUGE_LINE]
            found: dict[str, float] = {}
            for family in text_string_to_metric_families("\n".join(lines[:_MOST_GAUGES])):
                if family.name in GAUGES:
                    found[family.name] = found.get(family.name, 0.0) + sum(sample.value for sample in family.samples)
            return found
        except (TimeoutError, aiohttp.ClientError, ValueError, ArithmeticError):
            return {}

    async def _request(self, body: Mapping[str, Any]) -> tuple[str, bytes, dict[str, str]]:
        """Return (URL, data, headers) of a request for an answer."""
        data = msgspec.json.encode({**body, "stream": True, "stream_options": {"include_usage": True}})
        return f"{self.url}/chat/completions", data, self._headers()

    def _error(self, status: int, text: str, headers: Mapping[str, str]) -> TidegateError:
        return failures.of(status, text, headers)

    async def _answer(self, response: aiohttp.ClientResponse, started: float) -> Completion:
        return await _read(_pieces(response.content), started)

    async def _ask(self, model: str) -> None:
        """Request one token. Raises Away if none comes; a server that is busy, or rejects the request, is there."""
        content = [{"type": "text", "text": "Is anybody there?"}]
        try:
            await self.complete({"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 1})
        except (Busy, Rejected):
            return
        except RequestFailed as e:
            raise Away(f"{self.where} answers nothing: {e}") from e

    async def _listed(self, model: str) -> Card | None:
        """Return the server's list; None if it has none for us. Raises Away while it is unhealthy."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._check_health()
                async with self._send("GET", f"{self.url}/models", headers=self._headers()) as response:
                    if 300 <= response.status < 400:
                        raise failures.redirects(response.status)
                    if response.status in (401, 403) and not model:
                        raise Refused(f"{self.where} refuses the key ({response.status}): set VLM_KEY or VLM_KEY_FILE")
                    if response.status >= 500 or response.status == 429:
                        raise Away(f"{self.where} is not well: /models answers {response.status}")
                    if response.status != 200:
                        return None
                    models = msgspec.json.decode(await start_of(response, PAGE_BYTES), type=_Models).data
                    return Card(
                        models=[m.id for m in models],
                        context={m.id: m.max_model_len for m in models if m.max_model_len},
                    )
        except TimeoutError as e:
            raise Away(f"{self.where} does not answer within {CONNECT_S:g} s") from e
        except aiohttp.ClientError as e:
            raise Away(f"{self.where} can't be reached: {redact(str(e) or type(e).__name__)}") from e
        except (ValueError, RecursionError):  # another kind of server; a request will reveal it
            return None

    async def _check_health(self) -> None:
        """Check the health pages of vLLM and NIM; other servers have neither."""
        # vLLM reports here that its engine has died.
        async with self._send("GET", f"{self._root}/health") as response:
            if response.status >= 500:
                raise Away(f"{self.where} is not well: /health answers {response.status}")
            if response.status == 200:
                return
        # NIM reports here that its model is loaded.
        async with self._send("GET", f"{self.url}/health/ready") as response:
            if response.status >= 500:
                raise Cold(f"{self.where} is not there yet: /health/ready answers {response.status}")

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


def _root(url: str) -> str:
    """Return the URL of a server's own pages, next to `/v1`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.removesuffix("/v1"), query="", fragment=""))


async def start_of(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body, or its first `most` bytes: a server may never stop."""
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > most:
            break
    return bytes(found[:most])


async def _pieces(lines: aiohttp.StreamReader) -> AsyncIterator[_Piece]:
    """Yield server-sent events, up to the one that completes the answer."""
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
    finish, first_s, usage = "", 0.0, Tokens()
    async for piece in pieces:
        if piece.error is not None:
            raise RequestFailed(f"the server's error: {redact(failures.message_in(piece.error))[: failures.REASON]}")
        usage = piece.usage or usage
        for choice in piece.choices[:1]:
            if choice.delta.content:
                first_s = first_s or time.perf_counter() - started
                parts.append(choice.delta.content)
                length += len(choice.delta.content)
                if length > LINE_BYTES:
                    raise RequestFailed(f"the answer has more than {LINE_BYTES} characters")
            finish = choice.finish_reason or finish
    return completion("".join(parts), finish, usage, started, first_s)


def completion(text: str, finish: str, usage: Tokens, started: float, first_s: float = 0.0) -> Completion:
    """Return an answer that is complete now. started, first_s: of the request, performance counter, and seconds."""
    seconds = time.perf_counter() - started
    return Completion(
        text=text,
        finish=finish,
        # The server is untrusted: these numbers are counted and published.
        prompt_tokens=min(max(usage.prompt_tokens, 0), MOST),
        completion_tokens=min(max(usage.completion_tokens, 0), MOST),
        first_token_s=first_s or seconds,
        seconds=seconds,
    )
