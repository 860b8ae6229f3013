"""Jobs that caption a stretch of video."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from services.vlm.endpoints.chat import Chat
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames.jpeg import JpegFrame
from services.vlm.kinds import Work, event
from services.vlm.settings import VlmSettings
from shared.contract.events import Caption, VlmResult
from shared.contract.work import jobs

PROMPT = (
    "These are frames of a surveillance camera, in order of time. Say what happens, in one to three plain sentences: "
    "who or what is there, what they do, and what changes. Say nothing of what can't be seen."
)


class Video(Protocol):
    """The source of frames: `footage.Footage`, or recordings."""

    async def between(self, camera: str, start: dt.datetime, end: dt.datetime, count: int) -> list[JpegFrame]: ...


class Captions:
    """Jobs of kind `caption`."""

    says: type[VlmResult] = Caption

    def __init__(self, footage: Video, settings: VlmSettings) -> None:
        self._footage = footage
        self._settings = settings

    async def look(self, job: jobs.Caption, frames: int) -> Work[jobs.Caption]:
        shown = await self._footage.between(job.camera, job.start, job.end, frames)
        return Work(job=job, start=job.start, end=job.end, frames=shown)

    async def answer(self, work: Work[jobs.Caption], chat: Chat, base: VlmResult) -> Caption:
        text = work.job.prompt or PROMPT
        caption = await chat.say(Prompt(text=text, frames=work.frames, max_tokens=self._settings.vlm_max_tokens))
        return event(Caption, base, text=caption)

    def unanswered(self, work: Work[jobs.Caption], base: VlmResult) -> Caption:
        return event(Caption, base, text="")
