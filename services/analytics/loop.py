"""The loop: read EVENTS as a log, publish what follows, and checkpoint the position.

All partitions of a process share one position in the log. A partition taken over from further back moves the reading
back there, and the others skip what they have read. A checkpoint is written only once EVENTS stores everything that
follows from what was read. After a crash, the loop reads and computes again, and publishes only ids that EVENTS lacks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

import nats.errors
from nats.aio.client import Client

from services.analytics import metrics
from services.analytics.idle import Idle
from services.analytics.partitions.partition import Partition, camera_of
from services.analytics.partitions.publisher import CameraOuts, EventPublisher
from services.analytics.partitions.reading import LogEnd, VerdictLog
from services.analytics.partitions.sharing import DETECTIONS, OwnedPartitions
from services.analytics.rules.rulebook import Rulebook
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import deadletters, names
from shared.runtime.errors import BusError, connection_closed
from shared.runtime.tasks import unless
from shared.runtime.telemetry import Health, logger

SHARE_S = 0.5
RETRY_S = 0.5
# Background work waits while live analytics is further behind than this.
MAX_BEHIND_S = 2.0
# Heartbeat interval while detections are processed.
BEAT_S = 1.0


Work: TypeAlias = Callable[[], CameraOuts]


class Background(Protocol):
    """The seam for a further analysis in the time that live analytics leaves."""

    async def next_work(self, log: Log, partitions: Iterable[Partition], end: float) -> Work | None:
        """Return the next piece of work; None if all waits. end: all of EVENTS is known until then, Unix seconds.

        Raises nats.errors.Error or TimeoutError if the server does not answer.
        """


class Analytics:
    """See the module. `run` until it is cancelled, then `leave`.

    changed: set when a bucket changes. checkpoint_s: interval between checkpoints. background: a further analysis, if
    any.
    """

    def __init__(
        self,
        client: Client,
        rulebook: Rulebook,
        partitions: OwnedPartitions,
        health: Health,
        changed: asyncio.Event,
        checkpoint_s: float,
    ) -> None:
        self._client = client
        self._idle = Idle(client, changed)
        self._rulebook = rulebook
        self._partitions = partitions
        self._publisher = EventPublisher(client, partitions, health)
        self._health = health
        self._checkpoint_s = checkpoint_s
        self._verdicts = VerdictLog()
        self._end = LogEnd()
        self.background: Background | None = None
        self._complete_until = 0.0  # Unix seconds: until all detections stored before are known to have been read
        self._is_consistent = True  # nothing is partially published
        self._next_share = self._next_checkpoint = 0.0
        self._log = logger("analytics")

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises TidegateError."""
        self._health.ready = None
        async with Log(self._client, names.EVENTS) as log:
            while not stop.is_set():
                if self._client.is_closed:
                    raise connection_closed()
                self._health.beat()
                try:
                    self._is_consistent = False
                    idle = await self._step(log)
                    self._is_consistent = True
                except (TimeoutError, nats.errors.Error, BusError) as e:
                    self._log.warning(
                        "reading or publishing failed: all partitions are read again from their last checkpoints",
                        error=repr(e),
                    )
                    self._partitions.drop()
                    await asyncio.sleep(RETRY_S)
                    continue
                if idle:
                    await unless(stop, self._idle.wait(may_rest=self._partitions.may_rest()))
                else:
                    self._idle.record_read()

    async def leave(self) -> None:
        """Store the state, and release the partitions to other processes immediately.

        Nothing is stored where `run` was cancelled in the middle of a step: some results may be unpublished.
        """
        if self._is_consistent:
            await self._partitions.release()

    async def _step(self, log: Log) -> bool:
        """Read and publish a little. Return whether there was nothing to read."""
        now = time.monotonic()
        if now >= self._next_share:
            self._next_share = now + SHARE_S
            await self._share()
        if not self._partitions:
            return True
        outs = list(self._use_new_rules())
        await self._verdicts.read(log)
        position = min(p.position for p in self._partitions)
        sent = time.monotonic()
        detections = await log.read(DETECTIONS, position)
        outs += await self._in_thread(lambda: self._follow(detections, position, sent))
        await self._publisher.publish(outs)
        self._advance(detections)
        behind_s = max(0.0, time.time() - detections[-1].time.timestamp()) if detections else 0.0
        is_background_busy = behind_s < MAX_BEHIND_S and await self._run_background(log)
        metrics.BEHIND.set(behind_s)
        metrics.CAMERAS.set(sum(len(p.cameras) for p in self._partitions))
        if time.monotonic() >= self._next_checkpoint:
            await self._partitions.checkpoint()
            self._health.ready = self._partitions.trouble()
            self._next_checkpoint = time.monotonic() + self._checkpoint_s
        return not detections and not is_background_busy

    async def _run_background(self, log: Log) -> bool:
        """Do and publish a little of the further analysis. Return whether there was something to do."""
        if self.background is None:
            return False
        work = await self.background.next_work(log, self._partitions, self._complete_until)
        if work is None:
            return False
        await self._publisher.publish(await self._in_thread(lambda: [work()]))
        return True

    async def _share(self) -> None:
        """Release and take partitions. A new one may need verdicts from further back."""
        taken = await self._partitions.share()
        if taken:
            others = len(self._partitions) > len(taken)
            self._verdicts.rewind(min([p.verdicts for p in taken] + [self._verdicts.next] * others))
            self._end.reset()

    def _use_new_rules(self) -> Iterator[CameraOuts]:
        for camera, rules in self._rulebook.changed():
            if partition := self._partitions.of(camera):
                yield CameraOuts(camera, partition.use(camera, rules))

    async def _in_thread(self, work: Callable[[], list[CameraOuts]]) -> list[CameraOuts]:
        """Run `work()` in a thread, with heartbeats.

        It is pure and ends, but a crowd, real or forged, may make it long. Leases must be renewed meanwhile: a
        partition lost over an event would be lost over it repeatedly.
        """
        working = asyncio.create_task(asyncio.to_thread(work))
        while not working.done():
            self._health.beat()
            await asyncio.wait({working}, timeout=BEAT_S)
        return working.result()

    def _follow(self, detections: list[Stored], position: int, sent: float) -> list[CameraOuts]:
        """Return what follows from detections, from verdicts, and from the time that has passed."""
        outs = self._read_detections(detections)
        if not detections:
            outs += self._apply_verdicts(None)
        end, last = self._end.reached(detections, position, sent)
        self._complete_until = end
        for partition in self._partitions:
            outs += [CameraOuts(camera, camera_outs) for camera, camera_outs in partition.due(end, last)]
        return outs

    def _read_detections(self, detections: list[Stored]) -> list[CameraOuts]:
        """Return what follows from detections, and from the verdicts between them."""
        outs: list[CameraOuts] = []
        received = time.monotonic()
        for stored in detections:
            self._end.clock.note(received, stored.time.timestamp())
            outs += self._apply_verdicts(stored.seq)
            camera = camera_of(stored.subject)
            partition: Partition | None = self._partitions.of(camera)
            # A replayed dead letter is for another service: here the camera has gone on from there.
            if partition is None or stored.seq < partition.position or deadletters.REPLAY_FOR in stored.headers:
                continue
            outs.append(CameraOuts(camera, partition.read(stored), stored))
        return outs

    def _apply_verdicts(self, before: int | None) -> Iterator[CameraOuts]:
        """Apply verdicts after the detections that they are about. A repeated verdict changes nothing."""
        for stored in self._verdicts.take(before):
            camera = stored.verdict.camera
            if partition := self._partitions.of(camera):
                yield CameraOuts(camera, partition.verdict(stored.verdict, stored.at))

    def _advance(self, detections: list[Stored]) -> None:
        """Move the positions past what was read, now that its results are published."""
        for partition in self._partitions:
            partition.verdicts = max(partition.verdicts, self._verdicts.next)
            if detections:
                partition.advance(detections[-1].seq + 1)
