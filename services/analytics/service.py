"""The loop: read EVENTS as a log, say what follows from it, and remember how far that is.

One place in the log for all partitions of a process: one that is taken over from further back takes the reading back
there, and the others skip what they know. A checkpoint is written only once all that came of what was read is stored
in EVENTS, so what is read again after a crash is said again, under the same ids, and dropped there.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import random
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.analytics import metrics
from services.analytics.camera import Out, Outs
from services.analytics.checkpoint import Checkpoints, Taken
from services.analytics.partition import EVERYTHING, Bad, Partition, camera_of, partition_of
from services.analytics.rulebook import Rulebook
from services.analytics.settings import AnalyticsSettings
from shared import bus
from shared.bus import direct
from shared.bus.direct import Stored
from shared.bus.leases import Leases
from shared.bus.log import Log
from shared.contract import events, jobs, names
from shared.contract.events import Event, Verdict
from shared.runtime.errors import BusError, Full, Unstorable
from shared.runtime.telemetry import Health, logger

DETECTIONS = names.event("detections", "*")
VERDICTS = names.event("verdicts", "*")
POLL_S = 0.1
SHARE_S = 0.5
AGAIN_S = 0.5
# Whoever reads the log's end may be told a moment later of what was stored a moment ago.
SLACK_S = 1.0
# Nothing is there that has not come for so long.
QUIET_S = 5.0
# After twice that nothing is left of what was known of the clocks.
FORGET_S = 60.0
# Of the loop's time before others get theirs.
TURN_S = 0.05
# VLM may be full: an incident that can't be asked about is unverified. A server that does not answer gets a moment.
ASK_AGAIN_S, ASK_PATIENCE_S = 5.0, 2.0
# Less than the loop may take between two beats.
PUBLISH_PATIENCE_S = 20.0
# Of what a model says of an incident.
MOST_REASON = 4000


class Heard(NamedTuple):
    """A verdict, as EVENTS has it. at: when it was stored, Unix seconds."""

    seq: int
    at: float
    verdict: Verdict


class ServerClock:
    """What the server's clock shows, by when it stored what we read: ours may be set, or wrong."""

    def __init__(self) -> None:
        # Ours before the server's, at least: in this while and in the one before.
        self._least = self._before = math.inf
        self._until = 0.0

    def note(self, ours: float, stored: float) -> None:
        """Something was stored at `stored` by the server's clock, and was here at `ours` by ours."""
        if time.monotonic() > self._until:
            self._before, self._least = self._least, math.inf
            self._until = time.monotonic() + FORGET_S
        self._least = min(self._least, ours - stored)

    def server(self, ours: float) -> float:
        """Not after what the server's clock shows."""
        ahead = min(self._least, self._before)
        return ours - ahead if math.isfinite(ahead) else ours


class Said(NamedTuple):
    """What is to be said of a camera. cause: the detections that it follows from, if any."""

    camera: str
    outs: Outs
    cause: Stored | None = None


class Analytics:
    """See the module. `run` until it is cancelled, then `leave`."""

    def __init__(
        self,
        client: Client,
        settings: AnalyticsSettings,
        rulebook: Rulebook,
        leases: Leases,
        checkpoints: Checkpoints,
        health: Health,
    ) -> None:
        self._client = client
        self._js = client.jetstream()
        self._settings = settings
        self._rulebook = rulebook
        self._leases = leases
        self._checkpoints = checkpoints
        self._health = health
        self._partitions: dict[int, Partition] = {}
        self._verdicts: deque[Heard] = deque()
        self._verdict_position = 1
        self._whole = True  # nothing is half said
        self._clock = ServerClock()
        self._no_questions_until = 0.0  # monotonic seconds
        self._quiet_since: float | None = None
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
                    self._drop(list(self._partitions), "lost")
                    await asyncio.sleep(AGAIN_S)
                    continue
                if idle:
                    await asyncio.sleep(POLL_S)

    async def leave(self) -> None:
        """Store what is known, and let others have the partitions at once. After a `run` that was cancelled in the
        middle of it what is known is not what was said, and is not stored.
        """
        if self._whole:
            await self._release(list(self._partitions))

    # ---- one turn

    async def _turn(self, log: Log) -> bool:
        """Read and say a little; whether there was nothing."""
        now = time.monotonic()
        if now >= self._next_share:
            self._next_share = now + SHARE_S
            await self._share()
        if not self._partitions:
            return True
        said = self._new_rules()
        await self._read_verdicts(log)
        position = min(p.position for p in self._partitions.values())
        sent = time.time()
        found = await log.read(DETECTIONS, position)
        turn, here = time.monotonic(), time.time()
        for stored in found:
            self._clock.note(here, stored.time.timestamp())
            said += self._heard_verdicts(stored.seq)
            camera = camera_of(stored.subject)
            partition = self._of(camera)
            if partition is None or stored.seq < partition.position:
                continue
            said.append(Said(camera, partition.read(stored), stored))
            if time.monotonic() - turn > TURN_S:
                await asyncio.sleep(0)
                turn = time.monotonic()
        if found:
            end, last = found[-1].time.timestamp(), found[-1].seq
            self._quiet_since = None
        else:
            said += self._heard_verdicts(None)
            self._quiet_since = self._quiet_since or turn
            # Whoever answers may lag behind: what was held and does not come at once may come yet.
            quiet = turn - self._quiet_since >= QUIET_S
            end, last = self._clock.server(sent) - SLACK_S, EVERYTHING if quiet else position - 1
        for partition in self._partitions.values():
            said += [Said(camera, outs) for camera, outs in partition.due(end, last)]
        await self._say(said)
        verdicts = self._next_verdict()
        for partition in self._partitions.values():
            partition.verdicts = max(partition.verdicts, verdicts)
            if found:
                partition.position = max(partition.position, found[-1].seq + 1)
        metrics.BEHIND.set(max(0.0, sent - found[-1].time.timestamp()) if found else 0.0)
        metrics.CAMERAS.set(sum(len(p.cameras) for p in self._partitions.values()))
        if time.monotonic() >= self._next_checkpoint:
            await self._checkpoint(list(self._partitions))
            self._next_checkpoint = time.monotonic() + self._settings.analytics_checkpoint_s
        return not found

    def _of(self, camera: str) -> Partition | None:
        return self._partitions.get(self._number(camera))

    def _number(self, camera: str) -> int:
        return partition_of(camera, self._settings.analytics_partitions)

    def _new_rules(self) -> list[Said]:
        said: list[Said] = []
        for camera, rules in self._rulebook.changed():
            if partition := self._of(camera):
                said.append(Said(camera, partition.use(camera, rules)))
        return said

    async def _read_verdicts(self, log: Log) -> None:
        for stored in await log.read(VERDICTS, self._verdict_position):
            self._verdict_position = stored.seq + 1
            try:
                verdict = msgspec.json.decode(stored.data, type=Verdict)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
                self._log.warning("not a verdict", subject=stored.subject, seq=stored.seq, error=str(e)[:200])
                continue
            if verdict.camera == camera_of(stored.subject):
                reason = verdict.reason[:MOST_REASON]
                verdict = msgspec.structs.replace(verdict, reason=reason)
                self._verdicts.append(Heard(stored.seq, stored.time.timestamp(), verdict))

    def _next_verdict(self) -> int:
        """The sequence from which none has been heard."""
        return self._verdicts[0].seq if self._verdicts else self._verdict_position

    def _heard_verdicts(self, before: int | None) -> list[Said]:
        """Those stored before a sequence, or all: after the detections that they are about, and in that order."""
        said: list[Said] = []
        while self._verdicts and (before is None or self._verdicts[0].seq < before):
            heard = self._verdicts.popleft()
            # Heard twice it changes nothing.
            if partition := self._of(heard.verdict.camera):
                said.append(Said(heard.verdict.camera, partition.verdict(heard.verdict, heard.at)))
        return said

    # ---- what comes of it

    async def _say(self, said: Iterable[Said]) -> None:
        """Publish: of one camera one after the other, of all at once. A partition of which not all could be said is
        dropped, and read again from its checkpoint.
        """
        by_camera: dict[str, list[tuple[Stored | None, Out]]] = {}
        for camera, outs, cause in said:
            if outs:
                by_camera.setdefault(camera, []).extend((cause, out) for out in outs)
        bad = [b for p in self._partitions.values() for b in p.bad]
        done = await asyncio.gather(
            *(self._say_one(camera, outs) for camera, outs in by_camera.items()),
            *(self._bury(b) for b in bad),
            return_exceptions=True,
        )
        cameras = [*by_camera, *(b.camera for b in bad)]
        failed = {self._number(camera): e for camera, e in zip(cameras, done, strict=True) if e is not None}
        for number, e in failed.items():
            if not isinstance(e, BusError):
                raise e
            self._log.warning("begins again from the last checkpoint", partition=number, error=str(e))
        self._drop(failed, "lost")
        for partition in self._partitions.values():
            partition.bad.clear()

    async def _say_one(self, camera: str, outs: list[tuple[Stored | None, Out]]) -> None:
        number = self._number(camera)
        refused: list[tuple[str, str | None]] = []
        for cause, out in outs:
            if not self._leases.holds(str(number)):
                raise BusError(f"the lease of partition {number} has run out")
            trace = events.trace_of(cause.headers) if cause else None
            self._health.beat()
            if isinstance(out.what, jobs.Verify):
                if not await self._ask(out.what, trace):
                    refused.append((out.what.incident, trace))
                continue
            await self._publish(out.what, out.id, trace)
            if cause:
                metrics.LATENCY.observe(max(0.0, time.time() - cause.time.timestamp()))
        # After all that was worked out before the refusal: what is said last of an incident is true.
        for incident, trace in refused:
            if partition := self._partitions.get(number):
                for out in partition.refused(camera, incident):
                    await self._publish(out.what, out.id, trace)

    async def _bury(self, bad: Bad) -> None:
        subject = names.event("detections", bad.camera)
        stored = bad.stored or await self._again(subject, bad.seq)
        if stored is None:
            self._log.error("can't be dead-lettered: it is gone", subject=subject, seq=bad.seq, reason=bad.reason)
            return
        self._log.warning("dead-lettered", subject=stored.subject, seq=stored.seq, reason=bad.reason)
        await bus.bury_stored(
            self._client, "analytics", names.EVENTS, stored, bad.reason, patience_s=PUBLISH_PATIENCE_S
        )

    async def _again(self, subject: str, seq: int) -> Stored | None:
        """A message that was read before."""
        try:
            stored = await direct.get(self._client, names.EVENTS, subject=subject, seq=seq)
        except NotFoundError:
            return None
        except (TimeoutError, nats.errors.Error) as e:
            raise BusError(f"{subject} {seq} can't be read again: {e!r}") from e
        return stored if stored.seq == seq else None

    async def _publish(self, what: Event | jobs.Verify, id: str, trace: str | None) -> None:
        assert isinstance(what, Event)
        headers = events.headers(what, id=id, source=names.source("analytics"), traceparent=trace)
        payload = events.encode(what)
        subject = events.subject(what)
        try:
            await bus.publish(self._client, self._js, subject, payload, headers, patience_s=PUBLISH_PATIENCE_S)
        except Unstorable as e:  # trying again would be in the way of all that comes after it
            self._log.error("an event can't be stored, and is left out", subject=subject, id=id[:200], error=str(e))
            metrics.UNSTORABLE.labels(what.kind).inc()
            return
        metrics.EVENTS.labels(what.kind).inc()

    async def _ask(self, job: jobs.Verify, trace: str | None) -> bool:
        """Whether VLM took it. Where it is full it is left alone for a while: nobody else is to wait for it."""
        headers = {"traceparent": trace} if trace else {}
        refused = time.monotonic() < self._no_questions_until
        try:
            if not refused:
                await self._put(job, headers)
        except BusError as e:
            refused = True
            if not isinstance(e, Unstorable):
                self._no_questions_until = time.monotonic() + ASK_AGAIN_S
            self._log.error("incidents can't be verified", camera=job.camera, incident=job.incident, error=str(e))
        metrics.ASKED.labels("refused" if refused else "asked").inc()
        return not refused

    async def _put(self, job: jobs.Verify, headers: dict[str, str]) -> None:
        """Raises BusError: at once where VLM is full, and after a moment where the server has not answered."""
        try:
            await bus.publish_job(self._client, job, headers, patience_s=0.0)
        except (Full, Unstorable):
            raise
        except BusError:
            await bus.publish_job(self._client, job, headers, patience_s=ASK_PATIENCE_S)

    # ---- partitions

    async def _share(self) -> None:
        """As many partitions as is our share of them: released where we have more, claimed where some are free."""
        leases, count = self._leases, self._settings.analytics_partitions
        self._drop([int(n) for n in leases.lost], "lost")
        leases.lost.clear()
        share = math.ceil(count / leases.processes())
        await self._release(sorted(self._partitions)[share:])
        free = [n for n in range(count) if leases.free(str(n))]
        # In another order than other processes, so that they seldom ask for the same.
        random.shuffle(free)
        room = max(0, share - len(leases.owned))
        await asyncio.gather(*(leases.claim(str(n)) for n in free[:room]))
        for n in sorted(map(int, leases.owned)):
            if n not in self._partitions:
                await self._take(n)

    async def _take(self, number: int) -> None:
        partition = Partition(number, self._settings.limits(), self._rulebook.of)
        if not await self._checkpoints.load(partition):
            partition.position = partition.verdicts = await self._beginning()
        first = self._next_verdict() if self._partitions else partition.verdicts
        self._verdict_position = min(first, partition.verdicts)
        self._verdicts.clear()
        self._partitions[number] = partition
        self._quiet_since = None
        metrics.MOVES.labels("taken").inc()

    async def _beginning(self) -> int:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._settings.analytics_since_s)
        try:
            return (await direct.get(self._client, names.EVENTS, subject=DETECTIONS, since=since)).seq
        except NotFoundError:
            return 1

    async def _release(self, numbers: list[int]) -> None:
        if not numbers:
            return
        try:
            await self._checkpoint(numbers)
        except BusError as e:
            self._log.warning("released without a checkpoint", error=str(e))
        gone = [n for n in numbers if n in self._partitions]
        self._drop(gone, "released")
        await asyncio.gather(*(self._leases.release(str(n)) for n in gone))

    def _drop(self, numbers: Iterable[int], how: str) -> None:
        for n in numbers:
            if self._partitions.pop(n, None):
                metrics.MOVES.labels(how).inc()

    async def _checkpoint(self, numbers: list[int]) -> None:
        """Raises BusError if one can't be stored."""
        for n in numbers:
            if not self._leases.holds(str(n)):
                continue
            try:
                await self._checkpoints.save(self._partitions[n])
            except Taken:
                self._log.warning("another process has the partition", partition=n)
                self._drop([n], "lost")
