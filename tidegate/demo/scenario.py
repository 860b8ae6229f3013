"""The demo's scenario: two cameras, a surge, two cameras again, none.

It adds and removes cameras as `tidegate camera` does; the product does everything else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from nats.js import JetStreamContext

from shared.client import registry
from shared.contract import cameras
from shared.runtime.redact import redact
from tidegate.demo.sizing import CALM_CAMERAS, Load
from tidegate.demo.timeline import Phase
from tidegate.local.scaling.autoscaler import ScalerState
from tidegate.view.monitor import Monitor

# Phases as shares of the whole: calm, surge, calm again, night.
CALM, SURGE, AFTER, NIGHT = 0.14, 0.27, 0.33, 0.26
# Seconds of the autoscaler's clock in the whole scenario: its rates cover two minutes, a site counts as idle after one,
# and the HPA syncs every 15 s.
CLOCK_S = 540.0
# Extra seconds for a busy machine to drain. Segments that remain then count as waiting.
MOST_EXTRA_S = 15.0
# Other programs may change the machine's speed after the measurement. A surge without a second worker by this share of
# its time gets more cameras; one with a backlog of this many lag thresholds ends early.
EXTRA_CAMERAS_AFTER = 0.4
MAX_SURGE_LAG = 6
# Cameras that start together would always deliver their segments together.
STAGGER_S = 0.3
TREND_SAMPLES = 8


class PlannedCamera(msgspec.Struct, frozen=True):
    """A camera to add: its id, and its URL, which may contain credentials."""

    id: str
    url: str


def planned_cameras(urls: Sequence[str], count: int) -> list[PlannedCamera]:
    """Return `count` cameras that cycle through `urls`, with ids from their file names."""
    planned: list[PlannedCamera] = []
    for n in range(count):
        url = urls[n % len(urls)]
        round_number = n // len(urls)
        stem = as_id(Path(redact(url).partition("?")[0]).stem) or "cam"
        ids = {p.id for p in planned}
        id = stem if round_number == 0 and stem not in ids else f"{stem}-{round_number + 1}"
        planned.append(PlannedCamera(id if id not in ids else f"{stem}-{n + 1}", url))
    return planned


def as_id(text: str) -> str:
    """Return `text` as a valid camera id, possibly empty."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:40]


def speed(seconds: float) -> float:
    """Return the speed of the autoscaler's clock, so that its time constants fit into the scenario."""
    return max(1.0, CLOCK_S / seconds)


class Scenario:
    """Plays once. lineup: cameras in the order of their start, with a reserve. seconds: approximate length."""

    def __init__(
        self, js: JetStreamContext, monitor: Monitor, lineup: Sequence[PlannedCamera], load: Load, seconds: float
    ) -> None:
        self._js = js
        self._monitor = monitor
        self._lineup = lineup
        self._load = load
        self._seconds = seconds
        self._running: list[str] = []
        self._starts: list[tuple[str, float]] = []

    async def play(self) -> None:
        await self._begin("two cameras", CALM_CAMERAS)
        await self._wait_for(CALM * self._seconds)
        await self._begin("surge", self._load.cameras)
        await self._surge(SURGE * self._seconds)
        await self._begin("two cameras again", CALM_CAMERAS)
        await self._wait_for(AFTER * self._seconds)
        await self._wait_for(
            MOST_EXTRA_S, lambda: self._scaler.desired <= 1 and self._waiting <= self._load.lag_threshold
        )
        await self._begin("no cameras", 0)
        await self._wait_for(NIGHT * self._seconds + MOST_EXTRA_S, self._is_idle)
        await asyncio.sleep(1.0)

    @property
    def phases(self) -> list[Phase]:
        """The phases so far; the last one lasts until now."""
        ends = [start for _, start in self._starts[1:]] + [self._monitor.elapsed]
        return [Phase(name=n, start=s, end=e) for (n, s), e in zip(self._starts, ends, strict=True)]

    def describe(self) -> str:
        """Return the present event, in one line."""
        workers = self._scaler.desired
        workers_text = "no worker" if workers == 0 else "one worker" if workers == 1 else f"{workers} workers"
        added = max(0, len(self._running) - CALM_CAMERAS)
        match len(self._starts):
            case 0:
                return "starting"
            case 1:
                return f"two cameras, {workers_text}" if workers else "two cameras come, and wake a worker"
            case 2 if workers <= 1:
                return f"surge: {added} cameras added, the queue grows"
            case 2:
                return f"surge: {added} cameras added, {workers_text} {self._progress()}"
            case 3:
                return (
                    "two cameras, one worker again" if workers <= 1 else f"surge over: {workers_text}, until it is sure"
                )
            case _:
                return "no video, no worker" if workers == 0 else f"no cameras: {workers_text}, for the cooldown"

    def _progress(self) -> str:
        """Return the trend of the queue over the last seconds."""
        earlier = self._monitor.samples[-TREND_SAMPLES:][:1]
        before = (earlier[0].pending or 0) + (earlier[0].ack_pending or 0) if earlier else 0
        if self._waiting <= self._load.lag_threshold:
            return "keep up"
        return "clear the queue" if self._waiting < before else "against the queue"

    async def _begin(self, name: str, count: int) -> None:
        """Begin a phase with `count` cameras."""
        self._starts.append((name, self._monitor.elapsed))
        while len(self._running) > count:
            await registry.remove(self._js, self._running.pop())
        while len(self._running) < count:
            await self._add()
            await asyncio.sleep(STAGGER_S)

    async def _add(self) -> None:
        camera = self._lineup[len(self._running)]
        entry, credentials = cameras.new_camera(camera.url, fps=self._load.fps, always=True)
        await registry.put(self._js, camera.id, entry, credentials)
        self._running.append(camera.id)

    async def _surge(self, seconds: float) -> None:
        limit = MAX_SURGE_LAG * self._load.lag_threshold
        if not await self._wait_for(EXTRA_CAMERAS_AFTER * seconds, lambda: self._scaler.desired > 1):
            while self._scaler.desired <= 1 and len(self._running) < len(self._lineup):
                await self._add()
                await asyncio.sleep(2.0)
        start = self._starts[-1][1]
        await self._wait_for(seconds - (self._monitor.elapsed - start), lambda: self._waiting > limit)

    async def _wait_for(self, seconds: float, condition: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the condition; return whether it held within `seconds`."""
        ends = self._monitor.elapsed + seconds
        while self._monitor.elapsed < ends:
            if condition():
                return True
            await asyncio.sleep(0.2)
        return False

    @property
    def _scaler(self) -> ScalerState:
        return self._monitor.snapshot().scaler

    @property
    def _waiting(self) -> int:
        return (self._scaler.pending or 0) + (self._scaler.ack_pending or 0)

    def _is_idle(self) -> bool:
        now = self._monitor.snapshot()
        return not (now.latest.segments_in or now.scaler.pending or now.scaler.ack_pending or now.scaler.replicas)
