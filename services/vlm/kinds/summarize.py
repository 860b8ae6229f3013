"""A summary of a longer time from its captions: of groups that fit the model's context, then of these summaries.
Without captions, it is made from frames of its video, of MEDIA or of recordings.

A day of one caption per minute has 1440 captions, many times a model's context. So they are grouped in order of time,
each group is summarised into a part, and parts are grouped again until one prompt holds them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
from bisect import bisect_left
from collections.abc import Sequence, Sized

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.vlm.endpoints.chat import Chat
from services.vlm.endpoints.failures import TooLong
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames.footage import Footage, NoFootage
from services.vlm.frames.jpeg import JpegFrame
from services.vlm.kinds import Work, event
from services.vlm.kinds.caption import PROMPT as CAPTION_PROMPT
from services.vlm.settings import VlmSettings
from shared.bus import direct
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import Caption, Part, PastCaptions, Summary, VlmResult, decode
from shared.contract.work import jobs
from shared.recordings import queries
from shared.runtime.errors import BadMessage
from shared.runtime.tasks import gather

PROMPT = """These are descriptions of what a surveillance camera saw, in order of time (UTC):

{lines}

{wish}"""
WISH = (
    "Summarise what happened from {start} to {end} in a short paragraph, with the times of what matters. Leave out "
    "what stays the same, and say nothing that is not in the descriptions."
)
# Groups hold at least this many parts, so that there is progress.
FEWEST = 2
# Each round leaves at most half of the parts, so this many rounds are enough for any number of captions.
MOST_ROUNDS = 30
# The values from here on were chosen by hand.

# The text around the descriptions, and the chat's template, take this many tokens.
FRAME_TOKENS = 250
# Concurrent requests for parts: a long summary must not take all of the endpoint's slots.
PARALLEL_REQUESTS = 2
# The times in front of a description, and its line's end, take this many characters.
TIMES_CHARACTERS = 26
# Maximum captions of a summary: one every 4 s for a day, which take half a minute to read.
MAX_CAPTIONS = 20_000
# The length of a part of a stretch without captions; longer if there were more parts than the maximum.
PART = dt.timedelta(minutes=1)
MOST_PARTS = 16


class PartDescriber:
    """Describes the parts of a stretch without captions, by frames of each, like a caption."""

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
            request = Prompt(
                text=work.job.prompt or CAPTION_PROMPT, frames=frames, max_tokens=self._settings.vlm_max_tokens
            )
            async with turns:
                return Part(start=frames[0].time, end=frames[-1].time, text=await chat.say(request))

        return await gather(describe(work.frames[n : n + count]) for n in range(0, len(work.frames), count))


class Summaries:
    """Jobs of kind `summarize`."""

    says: type[VlmResult] = Summary

    def __init__(self, client: Client, footage: Footage, settings: VlmSettings) -> None:
        self._client = client
        self._describer = PartDescriber(footage, settings)
        self._settings = settings

    async def look(self, job: jobs.Summarize, frames: int) -> Work[jobs.Summarize]:
        if captions := await self._captions(job):
            return Work(job=job, start=job.start, end=job.end, captions=captions)
        try:
            shown = await self._describer.look(job)
            # Recordings are read up to this length; MEDIA may have more.
            start = min(shown[0].time, max(job.start, job.end - queries.LONGEST))
            return Work(job=job, start=start, end=job.end, frames=shown)
        except NoFootage as e:
            stretch = f"{job.start:%Y-%m-%d %H:%M:%S} to {job.end:%H:%M:%S} UTC"
            remedy = "set VLM_CAPTION_EVERY_S, or 'tidegate camera add … --caption-every'"
            reason = f"camera {job.camera} has no captions from {stretch} ({remedy}), and no video: {e}"
            raise NoFootage("no_captions", reason) from e

    async def answer(self, work: Work[jobs.Summarize], chat: Chat, base: VlmResult) -> Summary:
        parts = await self._describer.describe_parts(work, chat, PARALLEL_REQUESTS)
        if len(parts) == 1:
            return event(Summary, base, text=parts[0].text, captions=0, parts=[])
        found = parts or work.captions
        for _ in range(MOST_ROUNDS):
            found = await self._reduce(group(found, self._room(chat)), work.job.prompt, chat)
            if len(found) == 1:
                return event(Summary, base, text=found[0].text, captions=len(work.captions), parts=parts)
            parts = parts or found
        raise TooLong(f"a context of {chat.model.context} tokens is too small for a summary: raise VLM_CONTEXT")

    def unanswered(self, work: Work[jobs.Summarize], base: VlmResult) -> Summary:
        return event(Summary, base, text="", captions=0, parts=[])

    async def _captions(self, job: jobs.Summarize) -> list[Part]:
        """Return the stretch's captions in EVENTS, in order of time: live ones, or else those of a run."""
        live = await self._live(job)
        return sorted([*live, *without(await self._past(job), live)], key=lambda part: part.start)

    async def _live(self, job: jobs.Summarize) -> list[Part]:
        found: list[Part] = []
        seq = None
        while True:
            try:
                stored = await direct.get(
                    self._client,
                    names.EVENTS,
                    subject=names.event(Caption.kind, job.camera),
                    seq=seq,
                    since=None if seq else job.start,
                )
            except NotFoundError:
                break
            seq = stored.seq + 1
            try:
                caption = decode(stored.data, Caption, stored.subject)
            except BadMessage:
                continue
            # With a backlog, captions are stored late and slightly out of order. After an hour VLM has dropped the job.
            if caption.start >= job.end and stored.time > job.end + dt.timedelta(hours=1):
                break
            if _is_about(caption, job):
                part = Part(start=caption.start, end=caption.end, text=caption.text)
                if caption.same_as and found and found[-1].text == part.text:
                    # Nothing has changed: one line has the whole stretch.
                    part = msgspec.structs.replace(part, start=found.pop().start)
                found.append(part)
                _check_count(found)
        return found

    async def _past(self, job: jobs.Summarize) -> list[Part]:
        """Return captions of runs. Of several runs over a time, the last one's count, stored at any later time."""
        found: dict[str, dict[tuple[dt.datetime, dt.datetime], Part]] = {}
        subject = names.event(PastCaptions.kind, job.camera)
        async with Log(self._client, names.EVENTS) as log:
            read = await log.since(subject, job.start)
            while read:
                for stored in read:
                    with contextlib.suppress(BadMessage):
                        caption = decode(stored.data, PastCaptions, stored.subject)
                        if _is_about(caption, job):
                            part = Part(start=caption.start, end=caption.end, text=caption.text)
                            # The run with the latest event is the last.
                            of_run = found[caption.run] = found.pop(caption.run, {})
                            of_run[part.start, part.end] = part
                            _check_count(of_run)
                read = await log.read(subject, read[-1].seq + 1)
        chosen: list[Part] = []
        for of_run in reversed(found.values()):
            chosen += without(list(of_run.values()), chosen)
        return chosen

    def _room(self, chat: Chat) -> int:
        """Return the characters of descriptions that fit into a prompt."""
        tokens = max(chat.model.context // 4, chat.model.context - self._settings.vlm_max_tokens - FRAME_TOKENS)
        return int(tokens * chat.model.characters_a_token)

    async def _reduce(self, groups: Sequence[Sequence[Part]], wish: str, chat: Chat) -> list[Part]:
        """Return a part for each group, or several if a group was too long after all."""
        turns = asyncio.Semaphore(PARALLEL_REQUESTS)

        async def one(parts: Sequence[Part]) -> list[Part]:
            if len(parts) == 1 < len(groups):
                # A single part would only be repeated.
                return list(parts)
            try:
                async with turns:
                    return [await self._say(parts, wish, chat)]
            except TooLong:
                if len(parts) < FEWEST:
                    raise
                half = len(parts) // 2
                return [*await one(parts[:half]), *await one(parts[half:])]

        # If one has failed, the other requests would be in vain: the job comes again.
        return [part for of_group in await gather(one(parts) for parts in groups) for part in of_group]

    async def _say(self, parts: Sequence[Part], wish: str, chat: Chat) -> Part:
        start, end = parts[0].start, max(part.end for part in parts)
        instruction = wish or WISH.format(start=f"{start:%Y-%m-%d %H:%M}", end=f"{end:%Y-%m-%d %H:%M}")
        text = PROMPT.format(lines="\n".join(map(line, parts)), wish=instruction)
        summary = await chat.say(Prompt(text=text, max_tokens=self._settings.vlm_max_tokens))
        return Part(start=start, end=end, text=summary)


def _is_about(caption: Caption, job: jobs.Summarize) -> bool:
    return bool(caption.text) and caption.start < job.end and caption.end > job.start


def _check_count(found: Sized) -> None:
    """Raise NoFootage if there are none."""
    if len(found) > MAX_CAPTIONS:
        raise NoFootage("too_many_captions", f"over {MAX_CAPTIONS} captions: ask for a shorter time")


def without(parts: Sequence[Part], others: Sequence[Part]) -> list[Part]:
    """Return the parts that share no time with any of the others."""
    spans: list[tuple[dt.datetime, dt.datetime]] = []
    for one in sorted(others, key=lambda part: part.start):
        if spans and one.start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], one.end)
        else:
            spans.append((one.start, one.end))

    def is_free(part: Part) -> bool:
        # The last span that begins before the part ends.
        n = bisect_left(spans, part.end, key=lambda span: span[0])
        return not n or spans[n - 1][1] <= part.start

    return [part for part in parts if is_free(part)]


def line(part: Part) -> str:
    """Return `11-24 13:00:00-13:00:30 A man walks in.`"""
    return f"{part.start:%m-%d %H:%M:%S}-{part.end:%H:%M:%S} {' '.join(part.text.split())}"


def group(parts: Sequence[Part], characters: int) -> list[list[Part]]:
    """Group consecutive parts: each group has at least two, with at most `characters` in all lines.

    A longer text is truncated, so that there is always progress.
    """
    groups: list[list[Part]] = []
    used = 0
    for part in parts:
        short = msgspec.structs.replace(part, text=part.text[: max(1, characters // FEWEST - TIMES_CHARACTERS)])
        length = len(line(short)) + 1
        if not groups or (used + length > characters and len(groups[-1]) >= FEWEST):
            groups.append([])
            used = 0
        groups[-1].append(short)
        used += length
    return groups
