"""Captions of a static scene: a stretch whose frames equal an earlier one's repeats its text, without a request.

Verdicts, answers and summaries are always made.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import NamedTuple

from services.vlm import metrics
from services.vlm.frames.jpeg import JpegFrame
from shared.contract.events import Caption, Event
from shared.contract.work import jobs
from shared.static_scene.answers import Answers, Match
from shared.static_scene.cache import AnswerCache, Key
from shared.static_scene.picture import Grey, small
from shared.video import pictures


class Repeated(NamedTuple):
    """A caption. id: its event's `ce-id`. tokens: that it cost."""

    id: str
    text: str
    tokens: int


class Check(NamedTuple):
    """The check of one stretch. pictures: of its frames. match: None if the model must caption it."""

    key: Key
    id: str
    start: float
    pictures: list[Grey]
    match: Match[Repeated] | None

    @property
    def repeated(self) -> Repeated | None:
        """The caption that answers for it."""
        return self.match.answer.value if self.match else None


class StaticScenes:
    """One per process. refresh_s: maximum interval of a camera's captions by the model, in seconds of its time."""

    def __init__(self, refresh_s: float) -> None:
        self._cache: AnswerCache[Repeated] = AnswerCache(refresh_s)

    async def check(self, job: jobs.Caption, frames: list[JpegFrame], model: str, id: str) -> Check:
        """Check a job. model: of the captions. id: of its event."""
        prompt = hashlib.blake2b(job.prompt.encode(), digest_size=12).hexdigest()
        key, start = Key(job.camera, f"{model}/{prompt}"), job.start.timestamp()
        known = self._cache.known(key, start, (job.end - job.start).total_seconds())
        greys, match = await asyncio.to_thread(self._compare, known, frames, start)
        return Check(key, id, start, greys, match)

    def stored(self, check: Check, event: Event) -> None:
        """Learn from a stored event: a reader finds no other. One of fewer frames than wanted is not repeated."""
        if not isinstance(event, Caption):
            return
        if repeated := check.repeated:
            metrics.TOKENS_SAVED.inc(repeated.tokens)
            assert check.match
            self._cache.record_match(check.key, check.match)
        elif event.text and not event.quality:
            tokens = event.usage.prompt_tokens + event.usage.completion_tokens
            self._cache.add(check.key, check.pictures, check.start, Repeated(check.id, event.text, tokens))

    def _compare(
        self, known: Answers[Repeated], frames: list[JpegFrame], start: float
    ) -> tuple[list[Grey], Match[Repeated] | None]:
        greys = [small(pictures.read(frame.jpeg)) for frame in frames]
        return greys, self._cache.find(known, greys, start)
