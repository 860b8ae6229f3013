"""Descriptions of a stretch without captions: frames of each part of it, described like a caption."""

from __future__ import annotations

import asyncio
import datetime as dt
import math

from services.vlm.chat import Chat
from services.vlm.footage import Footage
from services.vlm.frames import JpegFrame
from services.vlm.kinds import Work
from services.vlm.kinds.caption import PROMPT
from services.vlm.prompt import Prompt
from services.vlm.settings import VlmSettings
from shared.contract import jobs
from shared.contract.events import Part
from shared.runtime.tasks import gather

# The length of a part; longer if there were more parts than the maximum.
PART = dt.timedelta(minutes=1)
MOST_PARTS = 16


class Looking:
    """See the module."""

    def __init__(self, footage: Footage, settings: VlmSettings) -> None:
        self._footage = footage
        self._settings = settings

    async def look(self, job: jobs.Summarize) -> list[JpegFrame]:
        """Return VLM_FRAMES of each part. Raises as `Footage.between` does."""
        parts = min(MOST_PARTS, math.ceil((job.end - job.start) / PART))
        return await self._footage.between(job.camera, job.start, job.end, parts * self._settings.vlm_frames)

    async def describe_parts(self, work: Work[jobs.Summarize], chat: Chat, parallel: int) -> list[Part]:
        """Describe each part, in order. parallel: concurrent requests. Raises as `Model.complete` does."""
        turns, count = asyncio.Semaphore(parallel), self._settings.vlm_frames

        async def describe(frames: list[JpegFrame]) -> Part:
            request = Prompt(text=work.job.prompt or PROMPT, frames=frames, max_tokens=self._settings.vlm_max_tokens)
            async with turns:
                return Part(start=frames[0].time, end=frames[-1].time, text=await chat.say(request))

        return await gather(describe(work.frames[n : n + count]) for n in range(0, len(work.frames), count))
