"""Captions, planned: a job for every stretch of every camera that is to be captioned, once its video is there.

The headers of MEDIA say which segment begins a stretch. It is put back for as long as the stretch lasts: the consumer
remembers, so that nothing is kept here, any number of processes may plan, and none is missed while none runs.
"""

from __future__ import annotations

import asyncio
import time

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.vlm import metrics
from services.vlm.settings import VlmSettings
from services.vlm.stretches import CaptionPlan, begun_by
from shared import bus
from shared.bus.mirror import Mirror, bind
from shared.bus.pull import Puller
from shared.contract import cameras, jobs, names, segment
from shared.contract.deadletters import REPLAY_OF
from shared.runtime.errors import BadSegment, BusError, SettingError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# The last segment of a stretch ends after it, and is stored after that.
SLACK_S = 3.0
# VLM is full, or the server away: video waits for minutes.
AGAIN_S = 5.0
LATEST_S = 120.0
PATIENCE_S = 2.0
HOLD = 256
HOLD_BYTES = 64 * 1024 * 1024


class Planner:
    """See the module."""

    def __init__(self, client: Client, settings: VlmSettings) -> None:
        self._client = client
        self._settings = settings
        self._log = logger("planner")
        self._unreadable: set[str] = set()
        self._full_until = 0.0  # monotonic clock, seconds

    async def run(self) -> None:
        """Until cancelled. Raises BusError if the consumer or the bucket is missing."""
        self._cameras = Mirror(
            self._client, await bind(self._client.jetstream(), names.CAMERAS), names.CAMERAS, asyncio.Event()
        )
        following = asyncio.create_task(self._cameras.run())
        try:
            await self._cameras.ready.wait()
            async with Puller(self._client, names.MEDIA, names.VLM_PLAN, messages=HOLD, max_bytes=HOLD_BYTES) as puller:
                while not following.done():
                    message = await puller.next()
                    try:
                        await self._plan(message)
                    except nats.errors.Error as e:  # it comes again after the ack wait
                        self._log.debug("could not answer for a segment", error=repr(e))
                    puller.release(message)
            following.result()
        finally:
            await end(following)

    async def _plan(self, message: Msg) -> None:
        headers = message.headers or {}
        try:
            head = segment.from_message(message.subject, headers)
            plan, prompt = self._plan_of(head.camera)
            found = [] if REPLAY_OF in headers else begun_by(head, plan)
        except (BadSegment, OverflowError):  # the services that look at video say what is wrong with it
            return await message.ack()
        if not found:
            return await message.ack()
        wait_s = found[-1].end.timestamp() + SLACK_S - time.time()
        if wait_s > plan.length_s + LATEST_S:
            # A clock that is wrong by more than a moment: its time may never come.
            return await message.ack()
        if wait_s > 0 or time.monotonic() < self._full_until:
            return await message.nak(delay=wait_s if wait_s > 0 else AGAIN_S)
        trace = {"traceparent": headers["traceparent"]} if "traceparent" in headers else {}
        for stretch in found:
            job = jobs.Caption(camera=head.camera, start=stretch.start, end=stretch.end, prompt=prompt)
            try:
                ack = await bus.publish_job(self._client, job, trace, patience_s=PATIENCE_S)
            except BusError as e:
                metrics.PLANNED.labels("refused").inc()
                self._log.warning("captions can't be asked for yet", camera=head.camera, error=str(e))
                self._full_until = time.monotonic() + AGAIN_S
                return await message.nak(delay=AGAIN_S)
            metrics.PLANNED.labels("duplicate" if ack.duplicate else "planned").inc()
        await message.ack()

    def _plan_of(self, camera: str) -> tuple[CaptionPlan, str]:
        """What is wanted of a camera: its own settings before ours."""
        s = self._settings
        every_s, prompt = s.vlm_caption_every_s, s.vlm_caption_prompt
        try:
            if data := self._cameras.values.get(camera):
                own = cameras.decode(data)
                every_s = every_s if own.caption_every_s is None else own.caption_every_s
                prompt = own.caption_prompt or prompt
        except SettingError as e:
            if camera not in self._unreadable:
                self._unreadable.add(camera)
                self._log.warning("a camera's settings can't be read", camera=camera, error=str(e))
        return CaptionPlan(every_s=every_s, chunk_s=s.vlm_caption_chunk_s, overlap_s=s.vlm_caption_overlap_s), prompt
