"""Series of longer ago than the console remembers, from the Prometheus that scrapes the services.

prometheus = Prometheus("http://prometheus:9090", namespace="tidegate")
await prometheus.read("cv", since, until, step_s, cost_per_hour=1.2)

Nothing of what a request says becomes part of a query but a service's name, which is one of the catalog.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from services.console.now.ring import SERIES
from shared.contract import catalog
from shared.contract.names import check_token
from shared.runtime.errors import TidegateError
from shared.runtime.plain import plain

TIMEOUT_S = 10.0
# An answer of 2000 points of one series has 60 kB.
MOST_BYTES = 4 * 1024 * 1024
# A rate is of this at least: four scrapes where there is one each half minute.
LEAST_RATE_S = 120

# Where two scalers or pods say the same, the largest is taken: all see one system.
_TERM = 'max(tidegate_demand{{service="{service}", term="{term}"{more}}})'
_SUM_OF_TERM = 'sum(max by (consumer) (tidegate_demand{{service="{service}", term="{term}"{more}}}))'
_SPENT = 'max(rate(tidegate_replica_{what}_total{{service="{service}"{more}}}[{over}]))'
_WORKERS = 'sum(rate(tidegate_{what}_total{{service="{service}"{more}}}[{over}]))'


def _of(query: str, **words: str) -> str:
    for word, value in words.items():
        query = query.replace(f"{{{word}}}", value)
    return query


_LOOKED, _WANTED = _of(_WORKERS, what="frames_looked"), _of(_WORKERS, what="frames_wanted")
# What each series is there. `age_s` is how long the slowest hundredth of what was taken had waited, and `pending` has
# what is in flight, too: JetStream's own numbers are exported by nobody of ours.
QUERIES: Mapping[str, str] = {
    "arriving": _of(_SUM_OF_TERM, term="arrival_rate"),
    "clearing": _of(_WORKERS, what="segments_out"),
    "age_s": "histogram_quantile(0.99, sum by (le) "
    '(rate(tidegate_stage_seconds_bucket{{service="{service}", stage="queued"{more}}}[{over}])))',
    "pending": _of(_SUM_OF_TERM, term="backlog"),
    "in_flight": 'sum(tidegate_held{{service="{service}"{more}}})',
    "wanted": _of(_TERM, term="replicas"),
    "ready": _of(_TERM, term="ready"),
    "warming": _of(_TERM, term="warming"),
    "busy": _of(_SPENT, what="busy_seconds"),
    "idle": _of(_SPENT, what="idle_seconds"),
    "cost": _of(_SPENT, what="seconds"),
    "deferred": _of(_WORKERS, what="frames_deferred"),
    "left_out": f"1 - {_LOOKED} / ({_WANTED} > 0)",
    "made_good": 'sum(rate(tidegate_backfill_jobs_total{{service="{service}", result="done"{more}}}[{over}]))',
}


class Unavailable(TidegateError):
    """Prometheus gives no series."""


class _Series(msgspec.Struct, frozen=True):
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, frozen=True):
    result: list[_Series] = []


class _Answer(msgspec.Struct, frozen=True):
    status: str = ""
    error: str = ""
    data: _Data = _Data()


class Prometheus:
    """See the module. url: as PROMETHEUS_URL has it. namespace: whose pods; empty: all that it scrapes."""

    def __init__(self, url: str, namespace: str = "") -> None:
        self._url = url.rstrip("/") + "/api/v1/query_range"
        self._more = f', namespace="{check_token(namespace, "namespace")}"' if namespace else ""

    async def read(
        self, service: str, since: float, until: float, step_s: float, *, cost_per_hour: float
    ) -> dict[str, list[float | None]]:
        """As `Ring.read`. Raises Unavailable, in a sentence, and SettingError for a service that is not there."""
        catalog.find(service)
        points = max(0, math.ceil((until - since) / step_s))
        over = f"{max(LEAST_RATE_S, math.ceil(step_s))}s"
        async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            asked = [
                self._series(client, query.format(service=service, more=self._more, over=over), since, points, step_s)
                for query in QUERIES.values()
            ]
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    found = dict(zip(QUERIES, await asyncio.gather(*asked), strict=True))
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
        """Without credentials."""
        parts = urlsplit(self._url)
        return f"Prometheus at {urlunsplit((parts.scheme, parts.netloc.rpartition('@')[2], '', '', ''))}"

    async def _series(
        self, client: httpx.AsyncClient, query: str, since: float, points: int, step_s: float
    ) -> list[float | None]:
        """A value for each step; None where there is none, or it is no number."""
        # A point stands for the step that follows it, and a rate is of the time before: so it is asked for at the end.
        asked = {"query": query, "start": f"{since + step_s:.3f}", "end": f"{since + points * step_s:.3f}"}
        body = await self._ask(client, {**asked, "step": f"{step_s:g}s", "timeout": f"{TIMEOUT_S:g}s"})
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
    """The values of an answer's first series, each in the step before it. Raises ValueError, in words to go on with."""
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
