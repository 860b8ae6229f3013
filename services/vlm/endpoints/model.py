"""The model behind an endpoint. Requests are retried if that helps, and paused while its server is away.

    model = Model(endpoint, settings)
    keeping = asyncio.create_task(model.keep())      # checks a server that is away, until cancelled
    completion = await model.complete(body)
    await model.well.wait(); await model.lost.wait()

While the server is briefly away, a request waits here, with its job in flight and in progress. Once the server has been
away for VLM_OUTAGE_TIMEOUT_S, or not there yet for VLM_START_TIMEOUT_S, the model is `lost`. Then waiting requests end
with `Away`, so that other replicas get them. While a model is lost no job is taken, so none is delivered repeatedly.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.vlm import metrics
from services.vlm.endpoints.failures import Busy, Cold, Refused, RequestFailed, TooLong
from services.vlm.endpoints.openai import Card, Completion, ModelEndpoint
from services.vlm.settings import VlmSettings
from shared.contract.names import safe_name
from shared.runtime.backoff import Backoff, Breaker
from shared.runtime.errors import Away
from shared.runtime.telemetry import logger

DELAYS = Backoff(first_s=0.5, longest_s=10.0)
# A busy server is retried after its own delay, but at most this.
BUSY = Backoff(first_s=0.5, longest_s=10.0, longest_requested_s=300.0)
# A server that looks healthy but does no work is tried less and less often.
RELAPSES = Backoff(first_s=0.5, longest_s=30.0)


# The patience of a request. The values were chosen by hand.

# A request ends after this many losses of a healthy-looking server: the request itself may be to blame.
MAX_LOST_TRIES = 3
# Maximum failures of a request on a healthy server: it is to blame, or another replica's server takes it.
MAX_TRIES = 2
# vLLM's own gauges are read this often.
LOAD_POLL_S = 5.0
# Characters of plain text per token until the model's ratio is known; low, as a long prompt is refused.
CHARACTERS_PER_TOKEN = 2.5


class Model:
    """See the module. name: the endpoint's; empty until it is listed, without VLM_MODEL."""

    def __init__(self, endpoint: ModelEndpoint, settings: VlmSettings, *, starting: str) -> None:
        self.name = settings.vlm_model
        self.context = settings.vlm_context
        self.characters_a_token = CHARACTERS_PER_TOKEN
        self.well = asyncio.Event()
        self.lost = asyncio.Event()
        self.on_change: Callable[[str | None], None] = lambda reason: None
        self._endpoint = endpoint
        self._settings = settings
        self._breaker = Breaker(DELAYS, reason=starting)
        self._says_load = True
        self._doubts = False  # whether a request was refused in a way that the server's pages would not show
        self._openings = 0  # openings of the breaker since the last answer
        self._closing = asyncio.Event()
        self._opened = asyncio.Event()
        self._news = asyncio.Event()
        self._log = logger("vlm")

    @property
    def reason(self) -> str:
        """Why requests are paused; empty while they are not."""
        return self._breaker.reason if self._breaker.is_open else ""

    def close(self) -> None:
        """End waiting requests immediately: the worker drains."""
        self._closing.set()
        self._announce()

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """Return one answer to `body`, with the model's name added. Raises Away, RequestFailed, Rejected or TooLong."""
        tries = busy = away = 0
        began = time.monotonic()
        while True:
            await self._until_well()
            try:
                completion = await self._endpoint.complete({"model": self.name, **body})
            except Busy as e:
                busy += 1
                self._count("busy")
                self._log.info("the endpoint is busy", error=str(e), times=busy)
                await self._sleep(BUSY.after(busy, e.after_s))
            except Cold as e:
                self._count("cold")
                self._turned_away(e)
                # It looks healthy each time, and still accepts nothing.
                if time.monotonic() - began > self._settings.vlm_start_timeout_s:
                    raise
            except Away as e:
                away += 1
                self._count("refused" if isinstance(e, Refused) else "away")
                self._turned_away(e)
                # A server that looked healthy each time may fail on this request.
                if away >= MAX_LOST_TRIES:
                    raise
                await self._sleep(DELAYS.after(away))
            except RequestFailed as e:
                tries += 1
                self._count("failed")
                self._failed(str(e), certain=False)
                if tries >= MAX_TRIES:
                    raise
                await self._sleep(DELAYS.after(tries))
            except Exception as e:
                self._count("too_long" if isinstance(e, TooLong) else "rejected")
                raise
            else:
                self._count("ok")
                self._openings = 0
                self._doubts = False
                if self._breaker.succeeded():
                    self._tell()
                return completion

    async def look(self) -> None:
        """Ask the endpoint for its models. Raises Away, with the reason, if it can't be used."""
        self._take(await self._endpoint.look(self.name, ask=self._doubts))

    async def keep(self) -> None:
        """Check whether an absent server is back, and read the load of a healthy one, until cancelled."""
        self._tell()
        tries = 0
        while True:
            if self._breaker.is_open:
                tries += 1
                await asyncio.sleep(RELAPSES.after(self._openings) if self._openings > 1 else 0)
                try:
                    await self.look()
                    self._breaker.succeeded()
                    self._says_load = True
                except Away as e:
                    self._breaker.reason = str(e)
                    if self._breaker.open_s > self._patience_s(e):
                        self.lost.set()
                        self._announce()
                self._tell()
            else:
                tries = 0
                await self._read_load()
            self._opened.clear()
            try:
                async with asyncio.timeout(DELAYS.after(tries) if tries else LOAD_POLL_S):
                    await self._opened.wait()
            except TimeoutError:
                pass

    def _take(self, card: Card) -> None:
        """Take the endpoint's list of models. Raises Away if ours is not among them."""
        if card.models and not self.name:
            self.name = card.models[0]
        if not self.name:
            raise Away("the endpoint does not say what model it has: set VLM_MODEL")
        if card.models and self.name not in card.models:
            raise Away(f"the endpoint has no model {self.name!r}, but {', '.join(card.models[:5])}: correct VLM_MODEL")
        self.context = card.context.get(self.name, self.context)

    async def _until_well(self) -> None:
        while self._breaker.is_open:
            if self._closing.is_set() or self.lost.is_set():
                raise Away(self._breaker.reason)
            await self._news.wait()

    async def _sleep(self, seconds: float) -> None:
        """Wait with the job in flight. Raises Away if the worker must drain meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._closing.is_set() or self.lost.is_set():
                raise Away(self._breaker.reason or "the worker is told to go")
            news = self._news
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()

    def _patience_s(self, why: Away) -> float:
        """Return how long jobs in flight wait. Another replica would find the same endpoint cold."""
        return self._settings.vlm_start_timeout_s if isinstance(why, Cold) else self._settings.vlm_outage_timeout_s

    def _turned_away(self, why: Away) -> None:
        self._doubts = self._doubts or isinstance(why, Cold | Refused)
        self._failed(str(why), certain=True)

    def _failed(self, reason: str, *, certain: bool) -> None:
        if self._breaker.failed(reason, certain=certain):
            self._openings += 1
            self._log.warning("the endpoint is left alone for now", reason=reason)
            self._opened.set()
            self._tell()

    def _tell(self) -> None:
        """Set `well` and `lost` by the breaker's state, and notify the waiters."""
        if self._breaker.is_open:
            self.well.clear()
        else:
            if not self.well.is_set():
                self._log.info("the endpoint is well", model=self.name, context=self.context)
            self.lost.clear()
            self.well.set()
        metrics.UP.set(not self._breaker.is_open)
        self.on_change(self.reason or None)
        self._announce()

    def _announce(self) -> None:
        """Wake all waiting requests."""
        self._news.set()
        self._news = asyncio.Event()

    async def _read_load(self) -> None:
        if not self._says_load:
            return
        load = await self._endpoint.load()
        # A server other than vLLM has no such page, and is tried once.
        self._says_load = bool(load)
        for gauge, name in (
            (metrics.WAITING, "vllm:num_requests_waiting"),
            (metrics.RUNNING, "vllm:num_requests_running"),
            (metrics.CACHE, "vllm:kv_cache_usage_perc"),
        ):
            if name in load:
                gauge.set(load[name])

    def _count(self, outcome: str) -> None:
        metrics.REQUESTS.labels(outcome).inc()


def event_name(settings: VlmSettings, name: str) -> str:
    """Return a model's name in events and their ids. It marks untrained weights."""
    path = Path(name)
    short = safe_name(path.name if path.is_absolute() or path.exists() else name)
    args = " ".join(shlex.split(settings.vllm_args)).replace("=", " ")
    return f"{short}-untrained" if "--load-format dummy" in args else short
