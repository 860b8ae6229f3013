"""Series older than the console's memory, from the Prometheus that scrapes the services.

Of a request only the service's name becomes part of a query, and it is one of the catalog.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from services.console.now.series.ring import SERIES
from shared.contract import catalog
from shared.runtime.errors import TidegateError
from shared.runtime.plain import plain

TIMEOUT_S = 10.0
# An answer of 2000 points of one series has 60 kB.
MOST_BYTES = 4 * 1024 * 1024
# Shortest range of a rate: four scrapes at one each half minute.
LEAST_RATE_S = 120

# Two scalers or pods report the same system: take the largest.
_TERM = 'max(tidegate_demand{{service="{service}", term="{term}"}})'
_SUM_OF_TERM = 'sum(max by (consumer) (tidegate_demand{{service="{service}", term="{term}"}}))'
_SPENT = 'max(rate(tidegate_replica_{what}_total{{service="{service}"}}[{over}]))'
_WORKERS = 'sum(rate(tidegate_{what}_total{{service="{service}"}}[{over}]))'


def _of(query: str, **words: str) -> str:
    for word, value in words.items():
        query = query.replace(f"{{{word}}}", value)
    return query


# Times before the upgrade have the former names alone.
_FRAMES_ANALYSED = f"({_of(_WORKERS, what='frames_analysed')} or {_of(_WORKERS, what='frames_looked')})"
_FRAMES_WANTED = _of(_WORKERS, what="frames_wanted")
_GAUGE = 'sum(tidegate_{what}{{service="{service}"}})'
# The query of each series. `age_s` is the 99th percentile of the wait, and `pending` includes messages in flight: none
# of our services exports JetStream's own numbers.
QUERIES: Mapping[str, str] = {
    "arriving": _of(_SUM_OF_TERM, term="arrival_rate"),
    "clearing": _of(_WORKERS, what="segments_out"),
    "age_s": "histogram_quantile(0.99, sum by (le) "
    '(rate(tidegate_stage_seconds_bucket{{service="{service}", stage="queued"}}[{over}])))',
    "pending": _of(_SUM_OF_TERM, term="backlog"),
    "in_flight": f"{_of(_GAUGE, what='messages_in_flight')} or {_of(_GAUGE, what='held')}",
    "wanted": _of(_TERM, term="replicas"),
    "ready": _of(_TERM, term="ready"),
    "warming": _of(_TERM, term="warming"),
    "busy": _of(_SPENT, what="busy_seconds"),
    "idle": _of(_SPENT, what="idle_seconds"),
    "cost": _of(_SPENT, what="seconds"),
    "deferred": _of(_WORKERS, what="frames_deferred"),
    "left_out": f"1 - {_FRAMES_ANALYSED} / ({_FRAMES_WANTED} > 0)",
    "made_good": 'sum(rate(tidegate_backfill_jobs_total{{service="{service}", result="done"}}[{over}]))',
}


class Unavailable(TidegateError):
    """Prometheus answers with no series."""


class _Series(msgspec.Struct, frozen=True):
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, frozen=True):
    result: list[_Series] = []


class _Answer(msgspec.Struct, frozen=True):
    status: str = ""
    error: str = ""
    data: _Data = _Data()


class Prometheus:
    """The HTTP API of the Prometheus at PROMETHEUS_URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + "/api/v1/query_range"

    async def read(
        self, service: str, since: float, until: float, step_s: float, *, cost_per_hour: float
    ) -> dict[str, list[float | None]]:
        """Return the series as `Ring.read` does. Raises Unavailable, and SettingError for an unknown service."""
        catalog.find(service)
        points = max(0, math.ceil((until - since) / step_s))
        over = f"{max(LEAST_RATE_S, math.ceil(step_s))}s"
        async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            requests = [
                self._series(client, query.format(service=service, over=over), since, points, step_s)
                for query in QUERIES.values()
            ]
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    found = dict(zip(QUERIES, await asyncio.gather(*requests), strict=True))
            except TimeoutError as e:
                raise Unavailable(
                    f"{self._where} has not answered within {TIMEOUT_S:g} s: is PROMETHEUS_URL right?"
                ) from e
        found["cost"] = (
            [value and value * cost_per_hour for value in found["cost"]] if cost_per_hour else [None] * points
        )
        return {series: found[series] for series in SERIES}

    @property
    def _where(self) -> str:
        """The address without credentials."""
        parts = urlsplit(self._url)
        return f"Prometheus at {urlunsplit((parts.scheme, parts.netloc.rpartition('@')[2], '', '', ''))}"

    async def _series(
        self, client: httpx.AsyncClient, query: str, since: float, points: int, step_s: float
    ) -> list[float | None]:
        """Return a value for each step; None if there is none, or it is no number."""
        # A point covers the step after it, but a rate covers the time before: query at the step's end.
        form = {"query": query, "start": f"{since + step_s:.3f}", "end": f"{since + points * step_s:.3f}"}
        body = await self._ask(client, {**form, "step": f"{step_s:g}s", "timeout": f"{TIMEOUT_S:g}s"})
        try:
            return values(body, since, points, step_s)
        except ValueError as e:
            raise Unavailable(f"{self._where} {e}") from e

    async def _ask(self, client: httpx.AsyncClient, form: dict[str, str]) -> bytes:
        try:
            async with client.stream("POST", self._url, data=form) as response:
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise Unavailable(f"{self._where} answers with more than {MOST_BYTES} bytes: is it Prometheus?")
                is_json = "json" in response.headers.get("content-type", "")
                if response.status_code >= 300 and not is_json:
                    raise Unavailable(f"{self._where} answers with {response.status_code}: is PROMETHEUS_URL right?")
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise Unavailable(f"{self._where} can't be asked ({type(e).__name__}): is PROMETHEUS_URL right?") from e
        return bytes(body)


def values(body: bytes, since: float, points: int, step_s: float) -> list[float | None]:
    """Return the values of the answer's first series, each for the step before it. Raises ValueError."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ValueError("answers with what is none of its API: is PROMETHEUS_URL right?") from e
    if answer.status != "success":
        raise ValueError(f"refuses: {plain(answer.error)[:200] or 'it does not say why'}")
    found: list[float | None] = [None] * points
    for time, text in answer.data.result[0].values if answer.data.result else []:
        place = round((time - since) / step_s) - 1
        if 0 <= place < points and math.isfinite(value := _number(text)):
            found[place] = value
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
