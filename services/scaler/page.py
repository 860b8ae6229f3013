"""The page /demand: the replicas that a service needs now, for KEDA's trigger of type `metrics-api`.

    async with serving_page(live_metrics, settings) as url:        # http://127.0.0.1:9091/demand
        ...

    GET /demand?service=cv&latencyTarget=2&coldStart=60         {"demand": 2.4, "active": true}

KEDA creates the HPA of such a trigger even without an answer, and an unreadable page does not affect other triggers. An
error is a code and a sentence: 400 for a bad query, 404 for a missing stream or consumer, 503 if JetStream is not
reachable. KEDA shows its users the code alone, so the sentence is logged too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import msgspec

from services.scaler import metrics
from services.scaler.live import metadata
from services.scaler.live.live_metrics import LiveMetrics
from services.scaler.settings import ScalerSettings, certificates
from shared.bus.infos import Missing
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.pages.server import KNOWN, PageServer
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

# The event loop has this long for an answer: KEDA times out after 3 s.
ANSWER_S = 2.7
# At most this many failing queries are remembered, to log each once; this much of each is shown.
MOST_FAILING = 1000
MOST_SHOWN = 500

log = logger("scaler")


class _Page:
    """The WSGI application. Its threads read the live metrics in its event loop."""

    def __init__(self, live_metrics: LiveMetrics, *, needs_certificate: bool) -> None:
        self._live_metrics = live_metrics
        self._needs_certificate = needs_certificate
        self._loop = asyncio.get_running_loop()
        # The problem of each failing query, the oldest first.
        self._failing: dict[str, str] = {}
        self._logging = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status, answer = self._answer(environ)
        metrics.REQUESTS.labels(metadata.PATH, str(status.value)).inc()
        start(f"{status.value} {status.phrase}", [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [msgspec.json.encode(answer) + b"\n"]

    def _answer(self, environ: dict[str, Any]) -> tuple[HTTPStatus, dict[str, object]]:
        if self._needs_certificate and not environ[KNOWN]:
            return HTTPStatus.FORBIDDEN, {"error": "show a certificate that SCALER_CLIENT_CA has signed"}
        if environ["PATH_INFO"] != metadata.PATH:
            return HTTPStatus.NOT_FOUND, {"error": f"no such page: GET {metadata.PATH}?service=cv"}
        if environ["REQUEST_METHOD"] != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET is allowed: request the page by GET"}
        query_string = environ["QUERY_STRING"]
        future = asyncio.run_coroutine_threadsafe(self._demand(query_string), self._loop)
        try:
            answer = future.result(ANSWER_S)
        except Exception as e:
            future.cancel()
            status, text = _refusal(e)
            self._log(query_string, text)
            return status, {"error": text}
        self._log(query_string, "")
        return HTTPStatus.OK, answer

    async def _demand(self, query_string: str) -> dict[str, object]:
        answer = await self._live_metrics.get(metadata.parse_query(query_string)).answer()
        return {"demand": answer.metric, "active": answer.active}

    def _log(self, query_string: str, problem: str) -> None:
        """Log a problem when it begins, changes, or ends."""
        query = metadata.shown(f"?{query_string}", MOST_SHOWN)
        with self._logging:
            if problem == self._failing.get(query, ""):
                return
            self._failing.pop(query, None)
            if problem:
                if len(self._failing) >= MOST_FAILING:
                    del self._failing[next(iter(self._failing))]
                self._failing[query] = problem
        if problem:
            log.warning("demand can't be answered", query=query, error=problem)
        else:
            log.info("demand is answered again", query=query)


def _refusal(error: Exception) -> tuple[HTTPStatus, str]:
    """Return the code and the sentence of an error of ours. Other errors are only logged."""
    if isinstance(error, SettingError):
        return HTTPStatus.BAD_REQUEST, redact(str(error))
    if isinstance(error, Missing):
        return HTTPStatus.NOT_FOUND, redact(str(error))
    if isinstance(error, TidegateError):
        return HTTPStatus.SERVICE_UNAVAILABLE, redact(str(error))
    if isinstance(error, TimeoutError):
        return HTTPStatus.SERVICE_UNAVAILABLE, f"the scaler did not answer within {ANSWER_S:g} s"
    log.error("demand failed", error=repr(error))
    return HTTPStatus.INTERNAL_SERVER_ERROR, "the scaler has failed: see its log"


@asynccontextmanager
async def serving_page(live_metrics: LiveMetrics, settings: ScalerSettings) -> AsyncIterator[str]:
    """Serve until the block exits; yield the page's URL. Raises SettingError."""
    secured = certificates(settings)
    host, port = settings.scaler_host, settings.scaler_http_port
    try:
        server = PageServer(host, port, secured)
    except OSError as e:
        raise SettingError(f"SCALER_HTTP_PORT={port} on {host} can't be used: {e.strerror}; 0 takes a free one") from e
    server.start(_Page(live_metrics, needs_certificate=bool(settings.scaler_client_ca)))
    try:
        yield f"{'https' if secured else 'http'}://{host}:{server.server_port}{metadata.PATH}"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
