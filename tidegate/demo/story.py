"""The demo's story: two cameras, a surge, two cameras again, none. Cameras come and go as `tidegate camera` adds and
removes them; everything that follows is the product's own doing.
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
from tidegate.local.autoscaler import ScalerState
from tidegate.view.monitor import Monitor

# Shares of the whole: calm, surge, calm again, night.
CALM, SURGE, AFTER, NIGHT = 0.14, 0.27, 0.33, 0.26
# So many seconds of the autoscaler's clock are in the whole story: its rates are of two minutes, a site is quiet after
# one, and the HPA asks every 15 s.
CLOCK_S = 540.0
# What a busy machine may take longer to drain. What is left then counts as waiting.
MOST_EXTRA_S = 15.0
# Where other programs share the machine, its speed is not what was measured. A surge that has not called for another
# worker by this share of its time gets more cameras; one that runs this far ahead of the workers ends early.
SURGE_LATE = 0.4
SURGE_TOO_MUCH = 6
# Cameras that start at the same moment would deliver their segments at the same moment for ever.
STAGGER_S = 0.3
TREND_SAMPLES = 8


class Place(msgspec.Struct, frozen=True):
    """A camera to be: its id, and its URL, which may hold credentials."""

    id: str
    url: str


def places(urls: Sequence[str], count: int) -> list[Place]:
    """`count` cameras out of `urls`, each as often as it takes, with ids that say what they show."""
    out: list[Place] = []
    for n in range(count):
        url = urls[n % len(urls)]
        turn = n // len(urls)
        stem = as_id(Path(redact(url).partition("?")[0]).stem) or "cam"
        taken = {p.id for p in out}
        id = stem if turn == 0 and stem not in taken else f"{stem}-{turn + 1}"
        out.append(Place(id if id not in taken else f"{stem}-{n + 1}", url))
    return out


def as_id(text: str) -> str:
    """`text` as a camera id, perhaps empty."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:40]


def speed(seconds: float) -> float:
    """How much faster the autoscaler's clock must run so that its patience fits into the story."""
    return max(1.0, CLOCK_S / seconds)


class Story:
    """Plays once. lineup: cameras in the order in which they come, some in reserve. seconds: about how long."""

    def __init__(
        self, js: JetStreamContext, monitor: Monitor, lineup: Sequence[Place], load: Load, seconds: float
    ) -> None:
        self._js = js
        self._monitor = monitor
        self._lineup = lineup
        self._load = load
        self._seconds = seconds
        self._running: list[str] = []
        self._began: list[tuple[str, float]] = []

    async def play(self) -> None:
        await self._begin("two cameras", CALM_CAMERAS)
        await self._until(CALM * self._seconds)
        await self._begin("surge", self._load.cameras)
        await self._surge(SURGE * self._seconds)
        await self._begin("two cameras again", CALM_CAMERAS)
        await self._until(AFTER * self._seconds)
        await self._until(MOST_EXTRA_S, lambda: self._scaler.desired <= 1 and self._waiting <= self._load.lag_threshold)
        await self._begin("no cameras", 0)
        await self._until(NIGHT * self._seconds + MOST_EXTRA_S, self._is_at_rest)
        await asyncio.sleep(1.0)

    @property
    def phases(self) -> list[Phase]:
        """Those that have begun; the last one lasts until now."""
        ends = [start for _, start in self._began[1:]] + [self._monitor.elapsed]
        return [Phase(name=n, start=s, end=e) for (n, s), e in zip(self._began, ends, strict=True)]

    def words(self) -> str:
        """What is going on, in a line."""
        workers = self._scaler.desired
        crew = "no worker" if workers == 0 else "one worker" if workers == 1 else f"{workers} workers"
        added = max(0, len(self._running) - CALM_CAMERAS)
        match len(self._began):
            case 0:
                return "starting"
            case 1:
                return f"two cameras, {crew}" if workers else "two cameras come, and wake a worker"
            case 2 if workers <= 1:
                return f"surge: {added} cameras added, the queue grows"
            case 2:
                return f"surge: {added} cameras added, {crew} {self._progress()}"
            case 3:
                return "two cameras, one worker again" if workers <= 1 else f"surge over: {crew}, until it is sure"
            case _:
                return "no video, no worker" if workers == 0 else f"no cameras: {crew}, for the cooldown"

    def _progress(self) -> str:
        """What the queue does, against some seconds ago."""
        earlier = self._monitor.samples[-TREND_SAMPLES:][:1]
        before = (earlier[0].pending or 0) + (earlier[0].ack_pending or 0) if earlier else 0
        if self._waiting <= self._load.lag_threshold:
            return "keep up"
        return "clear the queue" if self._waiting < before else "against the queue"

    async def _begin(self, name: str, count: int) -> None:
        """A phase of so many cameras."""
        self._began.append((name, self._monitor.elapsed))
        while len(self._running) > count:
            await registry.remove(self._js, self._running.pop())
        while len(self._running) < count:
            await self._add()
            await asyncio.sleep(STAGGER_S)

    async def _add(self) -> None:
        place = self._lineup[len(self._running)]
        entry, credentials = cameras.new_camera(place.url, fps=self._load.fps, always=True)
        await registry.put(self._js, place.id, entry, credentials)
        self._running.append(place.id)

    async def _surge(self, seconds: float) -> None:
        too_much = SURGE_TOO_MUCH * self._load.lag_threshold
        if not await self._until(SURGE_LATE * seconds, lambda: self._scaler.desired > 1):
            while self._scaler.desired <= 1 and len(self._running) < len(self._lineup):
                await self._add()
                await asyncio.sleep(2.0)
        began = self._began[-1][1]
        await self._until(seconds - (self._monitor.elapsed - began), lambda: self._waiting > too_much)

    async def _until(self, seconds: float, reached: Callable[[], bool] = lambda: False) -> bool:
        """Whether it was reached within so many seconds."""
        ends = self._monitor.elapsed + seconds
        while self._monitor.elapsed < ends:
            if reached():
                return True
            await asyncio.sleep(0.2)
        return False

    @property
    def _scaler(self) -> ScalerState:
        return self._monitor.snapshot().scaler

    @property
    def _waiting(self) -> int:
        return (self._scaler.pending or 0) + (self._scaler.ack_pending or 0)

    def _is_at_rest(self) -> bool:
        now = self._monitor.snapshot()
        return not (now.latest.segments_in or now.scaler.pending or now.scaler.ack_pending or now.scaler.replicas)
