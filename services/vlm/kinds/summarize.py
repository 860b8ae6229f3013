"""A summary of a longer time out of its captions: of groups that fit the model's context, then of these summaries.

A day of one caption a minute has 1440 captions, many times what a model reads at once. So they are grouped in order of
time, each group is summarised into a part, and parts are grouped again until one prompt holds them all.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.vlm.chat import Chat
from services.vlm.failures import TooLong
from services.vlm.footage import NoFootage
from services.vlm.kinds import Work, event
from services.vlm.prompt import Prompt
from services.vlm.settings import VlmSettings
from shared.bus import direct
from shared.contract import jobs, names
from shared.contract.events import Caption, Part, Said, Summary, decode
from shared.runtime.errors import BadMessage
from shared.runtime.tasks import end

PROMPT = """These are descriptions of what a surveillance camera saw, in order of time (UTC):

{lines}

{wish}"""
WISH = (
    "Summarise what happened from {start} to {end} in a short paragraph, with the times of what matters. Leave out "
    "what stays the same, and say nothing that is not in the descriptions."
)
# Groups hold at least this many parts, so that there is progress.
FEWEST = 2
# Each round leaves at most half as many parts, so that this many rounds are enough for any number of captions.
MOST_ROUNDS = 30


class SummaryTuning(msgspec.Struct, frozen=True, kw_only=True):
    """How captions are divided among prompts. The values were chosen by hand."""

    frame_tokens: int = 250
    """The text around the descriptions, and the chat's template, take this many tokens."""

    parallel: int = 2
    """This many parts are asked for at once: a long summary must not take all of the endpoint's slots."""

    times: int = 26
    """The times in front of a description, and its line's end, take this many characters."""

    most_captions: int = 20_000
    """A summary is of at most this many captions: one every 4 s for a day, which take half a minute to read."""


TUNING = SummaryTuning()


class Summaries:
    """Jobs of kind `summarize`."""

    says: type[Said] = Summary

    def __init__(self, client: Client, settings: VlmSettings) -> None:
        self._client = client
        self._settings = settings

    async def look(self, job: jobs.Summarize, frames: int) -> Work[jobs.Summarize]:
        captions = await self._captions(job)
        if not captions:
            stretch = f"{job.start:%Y-%m-%d %H:%M:%S} to {job.end:%H:%M:%S} UTC"
            remedy = "set VLM_CAPTION_EVERY_S, or 'tidegate camera add … --caption-every'"
            raise NoFootage("no_captions", f"camera {job.camera} has no captions from {stretch}: {remedy}")
        return Work(job=job, start=job.start, end=job.end, captions=captions)

    async def answer(self, work: Work[jobs.Summarize], chat: Chat, base: Said) -> Summary:
        found = work.captions
        parts: list[Part] = []
        for _ in range(MOST_ROUNDS):
            found = await self._reduce(group(found, self._room(chat)), work.job.prompt, chat)
            if len(found) == 1:
                return event(Summary, base, text=found[0].text, captions=len(work.captions), parts=parts)
            parts = parts or found
        raise TooLong(f"a context of {chat.model.context} tokens is too small for a summary: raise VLM_CONTEXT")

    def unanswered(self, work: Work[jobs.Summarize], base: Said) -> Summary:
        return event(Summary, base, text="", captions=0, parts=[])

    async def _captions(self, job: jobs.Summarize) -> list[Part]:
        """The captions of the stretch that EVENTS still keeps, in order of time."""
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
            # With a backlog, captions are stored late and not quite in order. After an hour VLM has dropped the job.
            if caption.start >= job.end and stored.time > job.end + dt.timedelta(hours=1):
                break
            if caption.text and caption.start < job.end and caption.end > job.start:
                found.append(Part(start=caption.start, end=caption.end, text=caption.text))
            if len(found) > TUNING.most_captions:
                raise NoFootage("too_many_captions", f"over {TUNING.most_captions} captions: ask for a shorter time")
        return sorted(found, key=lambda part: part.start)

    def _room(self, chat: Chat) -> int:
        """Characters of descriptions that fit into a prompt."""
        tokens = max(chat.model.context // 4, chat.model.context - self._settings.vlm_max_tokens - TUNING.frame_tokens)
        return int(tokens * chat.model.characters_a_token)

    async def _reduce(self, groups: Sequence[Sequence[Part]], wish: str, chat: Chat) -> list[Part]:
        """A part for each group, or several where a group was too long after all."""
        turns = asyncio.Semaphore(TUNING.parallel)

        async def one(parts: Sequence[Part]) -> list[Part]:
            if len(parts) == 1 < len(groups):
                # One part alone would only be repeated.
                return list(parts)
            try:
                async with turns:
                    return [await self._say(parts, wish, chat)]
            except TooLong:
                if len(parts) < FEWEST:
                    raise
                half = len(parts) // 2
                return [*await one(parts[:half]), *await one(parts[half:])]

        tasks = [asyncio.create_task(one(parts)) for parts in groups]
        try:
            return [part for of_group in await asyncio.gather(*tasks) for part in of_group]
        finally:
            # Where one has failed, the others would be asked in vain: the job comes again.
            await end(*tasks)

    async def _say(self, parts: Sequence[Part], wish: str, chat: Chat) -> Part:
        start, end = parts[0].start, max(part.end for part in parts)
        asked = wish or WISH.format(start=f"{start:%Y-%m-%d %H:%M}", end=f"{end:%Y-%m-%d %H:%M}")
        text = PROMPT.format(lines="\n".join(map(line, parts)), wish=asked)
        said = await chat.say(Prompt(text=text, max_tokens=self._settings.vlm_max_tokens))
        return Part(start=start, end=end, text=said)


def line(part: Part) -> str:
    """`11-24 13:00:00-13:00:30 A man walks in.`"""
    return f"{part.start:%m-%d %H:%M:%S}-{part.end:%H:%M:%S} {' '.join(part.text.split())}"


def group(parts: Sequence[Part], characters: int) -> list[list[Part]]:
    """Consecutive parts in groups: each has at least two, whose lines have at most `characters` together.

    A text that is too long for that is cut short, so that there is always progress.
    """
    groups: list[list[Part]] = []
    used = 0
    for part in parts:
        short = msgspec.structs.replace(part, text=part.text[: max(1, characters // FEWEST - TUNING.times)])
        length = len(line(short)) + 1
        if not groups or (used + length > characters and len(groups[-1]) >= FEWEST):
            groups.append([])
            used = 0
        groups[-1].append(short)
        used += length
    return groups
