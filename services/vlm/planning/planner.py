"""Plans captions: a job for every stretch to caption of every camera, once its video is stored.

A segment's headers show whether it begins a stretch. Its message is nak'd with a delay until the stretch is over. So
the state is in the consumer, not here: any number of processes may plan, and no stretch is missed while none runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.vlm import metrics
from services.vlm.planning.stretches import CaptionPlan, CaptionStretch, begun_by
from services.vlm.settings import VlmSettings
from shared import bus
from shared.bus.client import Connection
from shared.bus.mirror import mirror
from shared.bus.pull import Puller
from shared.contract import cameras, events, names, segment
from shared.contract.deadletters import REPLAY_OF
from shared.contract.work import jobs
from shared.runtime.errors import BadSegment, BusError, SettingError
from shared.runtime.tasks import supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.service.process import beat
from shared.worker.drain import drain
from shared.worker.in_flight import Delivery, InFlight, Source

# Values without another source were chosen by hand.

# The prefetch in messages and bytes.
HOLD = 256
HOLD_BYTES = 64 * 1024 * 1024
# The delay of a caption's request after its stretch's end: its last segment ends after it, and is stored after that.
SLACK_S = 3.0
# Planning pauses this long if VLM is full, or the server away.
PAUSE_S = 5.0
# A segment that begins a stretch in the future, by more than its length and this, comes from a wrong clock.
MAX_FUTURE_S = 120.0
# The publishing of a job is tried for this long.
PATIENCE_S = 2.0
# The maximum of segments that wait for a camera: stretches of five minutes that end every few seconds.
MOST_OF_A_CAMERA = 128
# The same for all cameras without an entry together.
MOST_UNLISTED = 256

_Span = tuple[float, float]


class _Wish(NamedTuple):
    """What a camera's captions are. always: also of a static scene."""

    prompt: str
    always: bool


class PendingSegments:
    """The segments that wait in the consumer for the end of their stretches: one a stretch, and a limit on all.

    A segment that waits counts against the consumer's unacknowledged messages. Without a limit, one process that
    publishes segments could stop the planning of all cameras.
    """

    def __init__(self) -> None:
        # By camera: the sequence in MEDIA of the segment that waits for each row of stretches.
        self._listed: dict[str, dict[_Span, int]] = {}
        self._unlisted: dict[str, dict[_Span, int]] = {}

    def add(self, camera: str, stretches: list[CaptionStretch], seq: int, now: float, *, is_listed: bool) -> bool:
        """Return whether this segment waits. No: another waits for the same stretches, or too many wait already.

        now: Unix seconds. A segment that waits already, and is delivered again, still waits.
        """
        span = stretches[0].end.timestamp(), stretches[-1].end.timestamp()
        of = self._listed if is_listed else self._unlisted
        spans = of.get(camera, {})
        for ended in [s for s in spans if s[1] < now]:
            del spans[ended]
        if span in spans:
            return spans[span] == seq
        if len(spans) >= MOST_OF_A_CAMERA or (not is_listed and self._count_unlisted(now) >= MOST_UNLISTED):
            return False
        spans[span] = seq
        of[camera] = spans
        return True

    def _count_unlisted(self, now: float) -> int:
        for camera, spans in list(self._unlisted.items()):
            if all(end < now for _, end in spans):
                del self._unlisted[camera]
        return sum(map(len, self._unlisted.values()))


class Planner:
    """See the module."""

    def __init__(self, client: Connection, settings: VlmSettings, health: Health) -> None:
        self._client = client
        self._settings = settings
        self._health = health
        self._in_flight: InFlight[Delivery] = InFlight(client, "vlm-front")
        self._log = logger("planner")
        self._unreadable: set[str] = set()
        self._pending = PendingSegments()
        self._full_until = 0.0  # monotonic clock, seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Plan until `stop`, then hand back the messages in flight.

        Raises BusError if the consumer or the bucket is missing or the server closes for good.
        """
        source = await unless(stop, bus.answered(self._client, self._health, self._open))
        if source is None:
            return
        beating = beat(self._client, self._health, self._in_flight.beat, every_s=self._in_flight.beat_s)
        async with source.pull(messages=HOLD, max_bytes=HOLD_BYTES) as puller:
            try:
                await supervise(self._work(source, puller), self._cameras.run(), beating, stop=stop)
            finally:
                await drain(self._client, self._in_flight, until=0.0, working=lambda: ())

    async def _open(self) -> Source:
        self._cameras = await mirror(self._client, names.CAMERAS, asyncio.Event())
        return await self._in_flight.open(names.MEDIA, names.VLM_PLAN)

    async def _work(self, source: Source, puller: Puller) -> None:
        await self._cameras.ready.wait()
        while True:
            await self._plan(self._in_flight.take(Delivery(await puller.next(), source)))

    async def _plan(self, delivery: Delivery) -> None:
        try:
            head = segment.from_message(delivery.subject, delivery.headers)
            plan, wish = self._plan_of(head.camera)
            found = [] if REPLAY_OF in delivery.headers else begun_by(head, plan)
        except (BadSegment, OverflowError):  # the services that decode video report its defect
            found = []
        if not found:
            return await self._in_flight.acknowledge(delivery, confirmed=False)
        wait_s = found[-1].end.timestamp() + SLACK_S - time.time()
        if wait_s > plan.length_s + MAX_FUTURE_S:
            # A clock is wrong: this stretch may never end.
            return await self._in_flight.acknowledge(delivery, confirmed=False)
        if wait_s <= 0:
            if time.monotonic() >= self._full_until and await self._ask_for(head.camera, found, wish, delivery.headers):
                return await self._in_flight.acknowledge(delivery, confirmed=False)
            wait_s = PAUSE_S
        elif not self._pending.add(
            head.camera, found, delivery.seq, time.time(), is_listed=head.camera in self._cameras.values
        ):
            return await self._in_flight.acknowledge(delivery, confirmed=False)
        await self._in_flight.nak(delivery, wait_s)

    async def _ask_for(
        self, camera: str, stretches: Sequence[CaptionStretch], wish: _Wish, headers: Mapping[str, str]
    ) -> bool:
        """Publish a job for each; return False if VLM takes none now."""
        traceparent = events.trace_of(headers)
        trace = {"traceparent": traceparent} if traceparent else {}
        for stretch in stretches:
            job = jobs.Caption(
                camera=camera, start=stretch.start, end=stretch.end, prompt=wish.prompt, always=wish.always
            )
            try:
                ack = await bus.publish_job(self._client, job, trace, patience_s=PATIENCE_S)
            except BusError as e:
                metrics.PLANNED.labels("refused").inc()
                self._log.warning("captions can't be asked for yet", camera=camera, error=str(e))
                self._full_until = time.monotonic() + PAUSE_S
                return False
            metrics.PLANNED.labels("duplicate" if ack.duplicate else "planned").inc()
        return True

    def _plan_of(self, camera: str) -> tuple[CaptionPlan, _Wish]:
        """Return (plan, wish) of a camera: its own settings override ours."""
        s = self._settings
        every_s, wish = s.vlm_caption_every_s, _Wish(s.vlm_caption_prompt, always=False)
        try:
            if own := self._own(camera):
                every_s = every_s if own.caption_every_s is None else own.caption_every_s
                wish = _Wish(own.caption_prompt or wish.prompt, own.always)
        except SettingError as e:
            if camera not in self._unreadable:
                self._unreadable.add(camera)
                self._log.warning("a camera's settings can't be read", camera=camera, error=str(e))
        return CaptionPlan(every_s=every_s, chunk_s=s.vlm_caption_chunk_s, overlap_s=s.vlm_caption_overlap_s), wish

    def _own(self, camera: str) -> cameras.Camera | None:
        """Return a camera's own settings, also of a removed one while its video waits. Raises SettingError."""
        if data := self._cameras.values.get(camera):
            return cameras.decode(data)
        data = self._cameras.values.get(names.removed(camera))
        return cameras.decode_removed(data) if data else None
