"""The demo's story: two cameras, a surge, two cameras again, none. Cameras come and go as `tidegate camera` adds and
removes them; everything that follows is the product's own doing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from nats.js import JetStreamContext

from services.scaler.scaledobject import ScaledObject
from shared import cameras
from tidegate import registry
from tidegate.monitor import Monitor
from tidegate.sizing import CALM_CAMERAS, Load
from tidegate.timeline import Phase

# Shares of the whole: calm, surge, calm again, night.
CALM, SURGE, AFTER, NIGHT = 0.14, 0.35, 0.27, 0.24
# What is not drained by then counts as waiting.
MOST_EXTRA_S = 15.0
# Cameras that start at the same moment would deliver their segments at the same moment for ever.
STAGGER_S = 0.3


class Place(msgspec.Struct, frozen=True):
    """A camera to be: its id, and its URL, which may hold credentials."""

    id: str
    url: str


def speed(scaled: ScaledObject, seconds: float) -> float:
    """How much faster the autoscaler's clock must run so that its patience fits into the story.

    Scaling in waits for the HPA's stabilisation window, and scaling to zero for KEDA's cooldown.
    """
    down = scaled.spec.behavior.scale_down if scaled.spec.behavior else None
    window = down.stabilization_window_seconds if down and down.stabilization_window_seconds is not None else 300
    return max(1.0, window / (0.6 * AFTER * seconds), scaled.spec.cooldown_period / (0.7 * NIGHT * seconds))


class Story:
    """Plays once. lineup: cameras in the order in which they come. seconds: about how long it all takes."""

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
        surge = len(self._lineup)
        await self._phase(f"{CALM_CAMERAS} cameras", CALM_CAMERAS, CALM)
        await self._phase(f"surge: {surge} cameras", surge, SURGE)
        await self._phase(f"{CALM_CAMERAS} cameras again", CALM_CAMERAS, AFTER)
        await self._phase("no cameras", 0, NIGHT)
        for _ in range(int(MOST_EXTRA_S / 0.5)):
            if self._is_drained():
                return
            await asyncio.sleep(0.5)

    @property
    def phases(self) -> list[Phase]:
        """Those that have begun; the last one lasts until now."""
        ends = [start for _, start in self._began[1:]] + [self._monitor.elapsed]
        return [Phase(name=n, start=s, end=e) for (n, s), e in zip(self._began, ends, strict=True)]

    def words(self) -> str:
        """What is going on, in a line."""
        scaler = self._monitor.snapshot().scaler
        workers, waiting = scaler.desired, (scaler.pending or 0) + (scaler.ack_pending or 0)
        crew = "no worker" if workers == 0 else "one worker" if workers == 1 else f"{workers} workers"
        added = len(self._lineup) - CALM_CAMERAS
        match len(self._began):
            case 0:
                return "starting"
            case 1:
                return f"two cameras, {crew}" if workers else "two cameras come, and wake a worker"
            case 2 if workers <= 1:
                return f"surge: {added} cameras added, the queue grows"
            case 2:
                behind = waiting > self._load.lag_threshold
                return f"surge: {added} cameras added, {crew} " + ("clear the queue" if behind else "keep up")
            case 3:
                return "two cameras, one worker again" if workers <= 1 else f"surge over: {crew}, until it is sure"
            case _:
                return "no video, no worker" if workers == 0 else f"no cameras: {crew}, for the cooldown"

    async def _phase(self, name: str, count: int, share: float) -> None:
        ends = asyncio.get_running_loop().time() + share * self._seconds
        self._began.append((name, self._monitor.elapsed))
        while len(self._running) > count:
            await registry.remove(self._js, self._running.pop())
        for place in self._lineup[len(self._running) : count]:
            entry, credentials = cameras.new_camera(place.url, fps=self._load.fps)
            await registry.put(self._js, place.id, entry, credentials)
            self._running.append(place.id)
            await asyncio.sleep(STAGGER_S)
        while asyncio.get_running_loop().time() < ends:
            if count == 0 and self._is_drained() and self._monitor.snapshot().scaler.replicas == 0:
                await asyncio.sleep(1.0)
                return
            await asyncio.sleep(0.2)

    def _is_drained(self) -> bool:
        now = self._monitor.snapshot().latest
        return now.segments_in == 0 and now.pending == 0 and now.ack_pending == 0
