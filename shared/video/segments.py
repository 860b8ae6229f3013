"""Decodes segments of MEDIA in threads, each with its predecessors in the GOP, within the budget.

Example:
    device = settings.decoding_device()
    segments = SegmentDecoder(js, threads=2, budget=settings.budget(), service="cv", device=device)
    decoded = await segments.decode(head, payload, lambda decoded: decoded, fps=5, size=(300, 300))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from nats.js import JetStreamContext
from prometheus_client import Counter, Gauge

from shared.contract import names
from shared.contract.segment import Segment
from shared.runtime import progress
from shared.runtime.errors import OverBudget
from shared.runtime.telemetry import logger
from shared.video import gop, hardware
from shared.video.accelerator import Device
from shared.video.budget import Budget
from shared.video.costly import CostlyCameras
from shared.video.decode import Decoded
from shared.video.hardware import Fallback

T = TypeVar("T")

REFUSED = Counter(
    "tidegate_over_budget_total",
    "segments that were not decoded, or not to the end, as they cost too much, by cause: budget or quarantine",
    ["service", "cause"],
)
QUARANTINED = Gauge(
    "tidegate_cameras_quarantined", "cameras whose video is not decoded for a while, as it cost too much", ["service"]
)
FALLBACKS = Counter(
    "tidegate_decode_fallbacks_total",
    "segments decoded on the CPU in spite of DECODE_DEVICE, by cause: unsupported video, a device that failed, a "
    "damaged segment, or a device suspended after failures",
    ["service", "cause"],
)


class SegmentDecoder:
    """One per process, used in its event loop. js: None if there is no server, and all is decoded alone.
    threads: that decode. service: for metrics. device: that decodes; None for the CPU.
    """

    def __init__(
        self,
        js: JetStreamContext | None,
        *,
        threads: int,
        budget: Budget,
        service: str,
        costly: CostlyCameras | None = None,
        device: Device | None = None,
    ) -> None:
        self._js = js
        self._budget = budget
        self._costly = CostlyCameras(time.monotonic) if costly is None else costly
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._waiting: dict[object, Callable[[], None]] = {}
        self._over = REFUSED.labels(service, "budget")
        self._passed = REFUSED.labels(service, "quarantine")
        self._quarantined = QUARANTINED.labels(service)
        self._device = device
        self._fallbacks = {cause: FALLBACKS.labels(service, cause) for cause in hardware.CAUSES} if device else {}
        self._logged: set[tuple[str, str]] = set()
        self._log = logger(service)

    async def decode(
        self, head: Segment, payload: bytes, use: Callable[[Decoded], T], *, main: bool = False, **wanted: Any
    ) -> T:
        """Return the result of `use` on a segment's pictures, in the same thread. wanted: arguments of `decode.decode`.

        main: whether it is of the main stream of a camera with a substream: its cost does not quarantine that.
        Raises BadSegment, OverBudget if it or its camera costs too much, and nats.errors.Error or TimeoutError if the
        server does not answer.
        """
        assert self._js, "without a server all is decoded alone"
        stream = names.main(head.camera) if main else head.camera
        return await self._bounded(stream, gop.earlier(self._js, head, self._budget), payload, use, wanted)

    async def decode_alone(
        self, camera: str, payload: bytes, use: Callable[[Decoded], T], before: Sequence[bytes] = (), **wanted: Any
    ) -> T:
        """Do the same for video that needs nothing of MEDIA, as recordings. before: decoded first, oldest first.

        Raises BadSegment and OverBudget.
        """
        return await self._bounded(camera, _fixed(before), payload, use, wanted)

    async def _bounded(
        self,
        camera: str,
        earlier: Coroutine[Any, Any, list[bytes]],
        payload: bytes,
        use: Callable[[Decoded], T],
        wanted: Mapping[str, Any],
    ) -> T:
        try:
            self._costly.check(camera)
        except OverBudget:
            earlier.close()
            self._passed.inc()
            raise
        try:
            found = await self._in_thread(camera, payload, await earlier, use, wanted)
        except OverBudget as e:
            self._costly.record_failure(camera, e)
            self._over.inc()
            self._quarantined.set(len(self._costly))
            raise
        self._costly.record_success(camera)
        self._quarantined.set(len(self._costly))
        return found

    async def _in_thread(
        self, camera: str, payload: bytes, before: list[bytes], use: Callable[[Decoded], T], wanted: Mapping[str, Any]
    ) -> T:
        """Decode, and report progress: for this one, and for those that wait for a thread meanwhile."""
        key, goes_on = object(), progress.listener()

        def alive() -> None:
            goes_on()
            for waits in tuple(self._waiting.values()):
                waits()

        def work() -> T:
            self._waiting.pop(key, None)
            alive()
            decoded, fallback = hardware.decode(
                payload, self._device, before=before, budget=self._budget, alive=alive, **wanted
            )
            if fallback:
                self._record_fallback(camera, fallback)
            return use(decoded)

        self._waiting[key] = goes_on
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting.pop(key, None)

    def _record_fallback(self, camera: str, fallback: Fallback) -> None:
        """Count a segment that software decoded; log the first one of a camera and a cause."""
        self._fallbacks[fallback.cause].inc()
        if (camera, fallback.cause) not in self._logged:
            self._logged.add((camera, fallback.cause))
            self._log.warning(
                "decoded on the CPU in spite of DECODE_DEVICE; further segments of this camera are counted alone",
                camera=camera,
                cause=fallback.cause,
                reason=fallback.reason,
            )


async def _fixed(before: Sequence[bytes]) -> list[bytes]:
    return list(before)
