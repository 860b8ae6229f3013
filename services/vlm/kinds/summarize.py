"""What happened in a longer time, out of its captions: in parts that fit the model's context, and those again.

A day of one caption a minute is 1440 of them, many times what a model reads at once. So they are grouped in order of
time, each group becomes a part, and parts are grouped again until one prompt holds them all.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.vlm.chat import Chat
from services.vlm.endpoint import TooLong
from services.vlm.footage import NoFootage
from services.vlm.kinds import Work, event
from services.vlm.prompt import Prompt
from services.vlm.settings import VlmSettings
from shared.bus import direct
from shared.contract import jobs, names
from shared.contract.events import Caption, Part, Said, Summary
from shared.runtime.tasks import end

PROMPT = """These are descriptions of what a surveillance camera saw, in order of time (UTC):

{lines}

{wish}"""
WISH = (
    "Summarise what happened from {start} to {end} in a short paragraph, with the times of what matters. Leave out "
    "what stays the same, and say nothing that is not in the descriptions."
)
# Of the prompt around the descriptions, and of the chat's template.
FRAME_TOKENS = 250
# So many parts are asked for at once: a long summary must not take all the slots.
PARALLEL = 2
FEWEST = 2
# The times in front of a line, and its end.
_TIMES = 26
# Each round leaves at most half as many parts, so that these are enough for any number of captions.
MOST_ROUNDS = 30
# Of a day that is one in 4 s, and half a minute of reading.
MOST_CAPTIONS = 20_000


class Summaries:
    def __init__(self, client: Client, settings: VlmSettings) -> None:
        self._client = client
        self._settings = settings

    async def look(self, job: jobs.Summarize) -> Work[jobs.Summarize]:
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
        """Those that EVENTS keeps of the stretch, in order of time."""
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
                caption = msgspec.json.decode(stored.data, type=Caption)
            except msgspec.DecodeError:
                continue
            # A backlog stores captions late, and not quite in order; by an hour VLM has forgotten the job.
            if caption.start >= job.end and stored.time > job.end + dt.timedelta(hours=1):
                break
            if caption.text and caption.start < job.end and caption.end > job.start:
                found.append(Part(start=caption.start, end=caption.end, text=caption.text))
            if len(found) > MOST_CAPTIONS:
                raise NoFootage("too_many_captions", f"over {MOST_CAPTIONS} captions: ask for a shorter time")
        return sorted(found, key=lambda part: part.start)

    def _room(self, chat: Chat) -> int:
        """Characters of descriptions that a prompt holds."""
        tokens = max(chat.model.context // 4, chat.model.context - self._settings.vlm_max_tokens - FRAME_TOKENS)
        return int(tokens * chat.model.characters_a_token)

    async def _reduce(self, groups: Sequence[Sequence[Part]], wish: str, chat: Chat) -> list[Part]:
        """A part for each group, or several where it was too long after all."""
        turns = asyncio.Semaphore(PARALLEL)

        async def one(parts: Sequence[Part]) -> list[Part]:
            if len(parts) == 1 < len(groups):
                # Alone it would only be said again.
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
            # Where one has failed the others are not asked in vain: the job comes again.
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
    """Consecutive parts in groups whose lines have up to so many characters together, but at least two of them.

    What would be too long for that is cut short: there is always progress.
    """
    groups: list[list[Part]] = []
    used = 0
    for part in parts:
        short = msgspec.structs.replace(part, text=part.text[: max(1, characters // FEWEST - _TIMES)])
        length = len(line(short)) + 1
        if not groups or (used + length > characters and len(groups[-1]) >= FEWEST):
            groups.append([])
            used = 0
        groups[-1].append(short)
        used += length
    return groups
