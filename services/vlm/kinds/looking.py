"""What is seen in a stretch that nobody has captioned: frames of each part of it, described as a caption is."""

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
from shared.runtime.tasks import together

# A part is so long; longer where there were more parts than this.
PART = dt.timedelta(minutes=1)
MOST_PARTS = 16


class Looking:
    """See the module."""

    def __init__(self, footage: Footage, settings: VlmSettings) -> None:
        self._footage = footage
        self._settings = settings

    async def look(self, job: jobs.Summarize) -> list[JpegFrame]:
        """VLM_FRAMES of each part. Raises as `Footage.between` does."""
        parts = min(MOST_PARTS, math.ceil((job.end - job.start) / PART))
        return await self._footage.between(job.camera, job.start, job.end, parts * self._settings.vlm_frames)

    async def say(self, work: Work[jobs.Summarize], chat: Chat, at_once: int) -> list[Part]:
        """What is seen in each part, in order. at_once: of questions. Raises as `Model.complete` does."""
        turns, count = asyncio.Semaphore(at_once), self._settings.vlm_frames

        async def said(frames: list[JpegFrame]) -> Part:
            asked = Prompt(text=work.job.prompt or PROMPT, frames=frames, max_tokens=self._settings.vlm_max_tokens)
            async with turns:
                return Part(start=frames[0].time, end=frames[-1].time, text=await chat.say(asked))

        return await together(said(work.frames[n : n + count]) for n in range(0, len(work.frames), count))
