"""The loop: read EVENTS as a log, say what follows from it, and remember how far that is.

All partitions of a process share one place in the log: one that is taken over from further back takes the reading back
there, and the others skip what they know. A checkpoint is written only once everything that follows from what was read
is stored in EVENTS. What is read again after a crash is worked out again, and said unless EVENTS has it by its id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import nats.errors
from nats.aio.client import Client

from services.analytics import metrics
from services.analytics.partition import Partition, camera_of
from services.analytics.publisher import CameraOuts, EventPublisher
from services.analytics.reading import LogEnd, VerdictLog
from services.analytics.rulebook import Rulebook
from services.analytics.second_pass.reading import SecondPassReader
from services.analytics.sharing import DETECTIONS, OwnedPartitions
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import deadletters, names
from shared.runtime.errors import BusError
from shared.runtime.telemetry import Health, logger

POLL_S = 0.1
SHARE_S = 0.5
AGAIN_S = 0.5
# Second passes wait while live analytics is further behind than this.
BEHIND_S = 2.0
# While detections are worked on, the loop says so this often.
BEAT_S = 1.0


class Analytics:
    """See the module. `run` until it is cancelled, then `leave`. checkpoint_s: between two checkpoints. settle_s: how
    long frames that were left out are waited for.
    """

    def __init__(
        self,
        client: Client,
        rulebook: Rulebook,
        partitions: OwnedPartitions,
        health: Health,
        checkpoint_s: float,
        settle_s: float,
    ) -> None:
        self._client = client
        self._rulebook = rulebook
        self._partitions = partitions
        self._outlet = EventPublisher(client, partitions, health)
        self._health = health
        self._checkpoint_s = checkpoint_s
        self._verdicts = VerdictLog()
        self._end = LogEnd()
        self._settled = SecondPassReader(settle_s)
        self._known_until = 0.0  # Unix seconds: until then all detections are known to have been read
        self._whole = True  # nothing is half said
        self._next_share = self._next_checkpoint = 0.0
        self._log = logger("analytics")

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises TidegateError."""
        self._health.ready = None
        async with Log(self._client, names.EVENTS) as log:
            while not stop.is_set():
                if self._client.is_closed:
                    raise BusError("the connection to NATS was closed")
                self._health.beat()
                try:
                    self._whole = False
                    idle = await self._turn(log)
                    self._whole = True
                except (TimeoutError, nats.errors.Error, BusError) as e:
                    # What is not known to be stored is read again, from the last checkpoint on.
                    self._log.warning("begins again from the last checkpoint", error=repr(e))
                    self._partitions.drop_all()
                    await asyncio.sleep(AGAIN_S)
                    continue
                if idle:
                    await asyncio.sleep(POLL_S)

    async def leave(self) -> None:
        """Store what is known, and let other processes have the partitions at once.

        Where `run` was cancelled in the middle of a turn, not all that is known was said: nothing is stored then.
        """
        if self._whole:
            await self._partitions.release_all()

    async def _turn(self, log: Log) -> bool:
        """Read and say a little; whether there was nothing to read."""
        now = time.monotonic()
        if now >= self._next_share:
            self._next_share = now + SHARE_S
            await self._share()
        if not self._partitions:
            return True
        said = list(self._use_new_rules())
        await self._verdicts.read(log)
        position = min(p.position for p in self._partitions)
        sent = time.monotonic()
        found = await log.read(DETECTIONS, position)
        said += await self._aside(lambda: self._follow(found, position, sent))
        await self._outlet.say(said)
        self._advance(found)
        behind_s = max(0.0, time.time() - found[-1].time.timestamp()) if found else 0.0
        settling = behind_s < BEHIND_S and await self._settle(log)
        metrics.BEHIND.set(behind_s)
        metrics.CAMERAS.set(sum(len(p.cameras) for p in self._partitions))
        if time.monotonic() >= self._next_checkpoint:
            await self._partitions.checkpoint()
            self._health.ready = self._partitions.trouble()
            self._next_checkpoint = time.monotonic() + self._checkpoint_s
        return not found and not settling

    async def _settle(self, log: Log) -> bool:
        """Read and say a little of one camera's second pass; whether there was something to read."""
        metrics.WAITING.set(sum(p.passes.waiting() for p in self._partitions))
        now = self._known_until
        page = await self._settled.next(log, [(p.position, p.passes) for p in self._partitions], now)
        if page is None:
            return False
        settle = partial(
            page.passes.settle, page.camera, page.read, page.next, until=page.until, over=page.over, now=now
        )
        await self._outlet.say(await self._aside(lambda: [CameraOuts(page.camera, settle())]))
        return True

    async def _share(self) -> None:
        """Give and take partitions. One that is new may need verdicts from further back."""
        taken = await self._partitions.share()
        if taken:
            others = len(self._partitions) > len(taken)
            self._verdicts.rewind(min([p.verdicts for p in taken] + [self._verdicts.next] * others))
            self._end.begin_anew()

    def _use_new_rules(self) -> Iterator[CameraOuts]:
        for camera, rules in self._rulebook.changed():
            if partition := self._partitions.of(camera):
                yield CameraOuts(camera, partition.use(camera, rules))

    async def _aside(self, work: Callable[[], list[CameraOuts]]) -> list[CameraOuts]:
        """`work()` in a thread. It is pure, and ends; but a crowd, or whoever forges one, may make it long, and leases
        are to be renewed meanwhile: a partition that is lost over an event would be lost over it again and again.
        """
        working = asyncio.create_task(asyncio.to_thread(work))
        while not working.done():
            self._health.beat()
            await asyncio.wait({working}, timeout=BEAT_S)
        return working.result()

    def _follow(self, found: list[Stored], position: int, sent: float) -> list[CameraOuts]:
        """What follows from detections, from verdicts, and from the time that has passed."""
        said = self._read_detections(found)
        if not found:
            said += self._hear_verdicts(None)
        end, last = self._end.reached(found, position, sent)
        self._known_until = end
        for partition in self._partitions:
            said += [CameraOuts(camera, outs) for camera, outs in partition.due(end, last)]
        return said

    def _read_detections(self, found: list[Stored]) -> list[CameraOuts]:
        """What follows from detections, and from the verdicts between them."""
        said: list[CameraOuts] = []
        here = time.monotonic()
        for stored in found:
            self._end.clock.note(here, stored.time.timestamp())
            said += self._hear_verdicts(stored.seq)
            camera = camera_of(stored.subject)
            partition: Partition | None = self._partitions.of(camera)
            # A dead letter that is replayed is for another service: here the camera has gone on from there.
            if partition is None or stored.seq < partition.position or deadletters.REPLAY_FOR in stored.headers:
                continue
            said.append(CameraOuts(camera, partition.read(stored), stored))
        return said

    def _hear_verdicts(self, before: int | None) -> Iterator[CameraOuts]:
        """Verdicts come after the detections that they are about. One that is heard twice changes nothing."""
        for heard in self._verdicts.heard(before):
            camera = heard.verdict.camera
            if partition := self._partitions.of(camera):
                yield CameraOuts(camera, partition.verdict(heard.verdict, heard.at))

    def _advance(self, found: list[Stored]) -> None:
        """What was read need not be read again once it is said."""
        for partition in self._partitions:
            partition.verdicts = max(partition.verdicts, self._verdicts.next)
            if found:
                partition.advance(found[-1].seq + 1)
