"""Jobs with a question about a stretch of a camera's time.

If `svc.find` answers, half of the frames are its results for the question. The rest are spread evenly.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta
from nats.aio.client import Client

from services.vlm.endpoints.chat import Chat
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames.footage import Footage
from services.vlm.kinds import Work, event
from services.vlm.settings import VlmSettings
from shared.bus import requests
from shared.contract import names
from shared.contract.events import Answer, VlmResult
from shared.contract.segment import rfc3339
from shared.contract.work import jobs
from shared.runtime.errors import TidegateError
from shared.runtime.plain import plain
from shared.runtime.telemetry import logger

PROMPT = """These are frames of a surveillance camera, in order of time, between {start} and {end} UTC. Answer this
question by what can be seen in them, in a few plain sentences; where they do not show it, say so:

{question}

In "frames", give the numbers of the frames that your answer rests on."""
# The timeout of search, in seconds.
FIND_S = 5.0


class QuestionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The model's answer. frames: numbers of the frames that support it, from 1."""

    answer: Annotated[str, Meta(max_length=1200)]
    frames: Annotated[list[Annotated[int, Meta(ge=1, le=1000)]], Meta(max_length=16)]


class _Moment(msgspec.Struct, frozen=True):
    """The fields of a moment of `svc.find` that are read here. time: of its best frame."""

    time: dt.datetime


class _Found(msgspec.Struct, frozen=True):
    moments: list[_Moment]


class Questions:
    """Jobs of kind `ask`."""

    says: type[VlmResult] = Answer

    def __init__(self, client: Client, footage: Footage, settings: VlmSettings) -> None:
        self._client = client
        self._footage = footage
        self._settings = settings
        self._log = logger("vlm")

    async def look(self, job: jobs.Ask, frames: int) -> Work[jobs.Ask]:
        found = await self._find(job, frames // 2) if frames > 1 else []
        shown = await self._footage.between(job.camera, job.start, job.end, frames, also=found)
        return Work(job=job, start=job.start, end=job.end, frames=shown)

    async def answer(self, work: Work[jobs.Ask], chat: Chat, base: VlmResult) -> Answer:
        job = work.job
        text = PROMPT.format(
            start=f"{job.start:%Y-%m-%d %H:%M:%S}", end=f"{job.end:%Y-%m-%d %H:%M:%S}", question=job.question
        )
        request = Prompt(text=text, frames=work.frames, max_tokens=self._settings.vlm_max_tokens)
        found = await chat.fill(request, QuestionAnswer)
        used = sorted({work.frames[n - 1].time for n in found.frames if n <= len(work.frames)})
        return event(Answer, base, question=job.question, text=plain(found.answer), used=used)

    def unanswered(self, work: Work[jobs.Ask], base: VlmResult) -> Answer:
        return event(Answer, base, question=work.job.question, text="")

    async def _find(self, job: jobs.Ask, most: int) -> list[dt.datetime]:
        """Return times that search finds for the question; none if no search process answers."""
        query = {
            "text": job.question[:1000],
            "cameras": [job.camera],
            "since": rfc3339(job.start),
            "until": rfc3339(job.end),
            "k": most,
        }
        try:
            answer = await requests.ask(self._client, names.FIND, msgspec.json.encode(query), timeout_s=FIND_S)
            moments = requests.read(answer, _Found).moments
        except TidegateError as e:
            self._log.debug("all frames are spread evenly: search gives none", reason=str(e))
            return []
        return list({m.time: None for m in moments if job.start <= m.time < job.end})
