"""Publishes the results of a run for search and for summaries of captions, as past events, which live consumers do not
receive. docs/adr/0013 has the reasons.

    with PastEventPublisher(data, job) as publisher:            # connects to the system that runs there
        for progress in publish_past(run.job, run.pieces, run.chapters, results, publisher): ...

A piece, or a chapter of captions, is published as a whole and then marked; after a crash in between, it is published
again. Events have the ids of live events: consumers drop duplicates, both of repeats and of live events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import nats.errors

from shared.bus import infos
from shared.bus.publish import header_bytes, publish
from shared.contract import events, names
from shared.contract.events import Past
from shared.contract.reading.missing import Unread
from shared.runtime.errors import BusError, SettingError
from tidegate.archive import recorded_files, rows
from tidegate.archive.captions.chapters import CAPTIONS, Chapter
from tidegate.archive.frames.analysis import results_key
from tidegate.archive.frames.probe import sample
from tidegate.archive.job import NONE, Job, Piece
from tidegate.archive.sync_store import SyncStore
from tidegate.local import running
from tidegate.view.words import sized

# Maximum concurrent publications, and events that wait for search: live events wait behind them.
_AT_ONCE, _MOST_WAITING = 64, 2000
# Maximum seconds without progress of search, and seconds between polls.
_TIMEOUT_S, _POLL_S = 60.0, 0.5
# The share of a full EVENTS that past events may displace: live events expire earlier.
_SHARE = 0.1
_MARKS = "told"
_SEARCH = "search"


class Message(NamedTuple):
    """An event as it is published."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class PublishProgress(NamedTuple):
    """parts: published pieces and chapters. of: their total. events: published by this process."""

    parts: int
    of: int
    events: int


def publish_past(
    job: Job, pieces: Sequence[Piece], chapters: Sequence[Chapter], results: SyncStore, publisher: PastEventPublisher
) -> Iterator[PublishProgress]:
    """Publish the pieces and chapters that are not marked yet. Raises TidegateError."""
    marks = {one.key for one in results.list_objects(_MARKS)}
    parts: list[Piece | Chapter] = [*(pieces if job.analyzes_frames else ()), *chapters]
    left = [part for part in parts if _mark_key(part) not in marks]
    if left:
        samples = [sum(map(_size, events_in(job, part, results))) for part in sample(left)]
        publisher.check_capacity(sum(samples) * len(left) // len(samples))
    count = 0
    for n, part in enumerate(left, 1):
        messages = list(events_in(job, part, results))
        publisher.publish(messages, to_search=isinstance(part, Piece))
        results.put(_mark_key(part), b"{}")
        count += len(messages)
        yield PublishProgress(len(parts) - len(left) + n, len(parts), count)


def events_in(job: Job, part: Piece | Chapter, results: SyncStore) -> Iterator[Message]:
    """Yield the events of a piece or a chapter: segments with objects or vectors, stretches with a caption.

    Raises StoreUnavailable.
    """
    if isinstance(part, Chapter):
        for row in rows.read(results.read(results_key(CAPTIONS, part.key))):
            if row["text"]:
                yield _message(row["id"], events.past(rows.caption_event(row), job.run))
        return
    if job.model != NONE:
        for row in rows.read(results.read(results_key("segments", part.key))):
            if any(frame["objects"] for frame in row["frames"]):
                yield _message(row["id"], events.past(rows.detections_event(row), job.run))
    if job.embed:
        for id, event in rows.embedding_events(rows.read(results.read(results_key("embeddings", part.key)))):
            yield _message(id, events.past(event, job.run))


def _message(id: str, event: Past) -> Message:
    headers = events.headers(event, id=id, source=names.source("reanalyze"))
    return Message(events.subject(event), events.encode(event), headers)


def _size(message: Message) -> int:
    return len(message.subject) + len(message.payload) + header_bytes(message.headers)


def _mark_key(part: Piece | Chapter) -> str:
    of = f"{CAPTIONS}/" if isinstance(part, Chapter) else ""
    return f"{_MARKS}/{of}{part.key}.json"


class PastEventPublisher:
    """A connection to the system in `data`, or at NATS_URL.

    Raises BusError, and SettingError if that system did not record the job's video, or takes no past events.
    """

    def __init__(self, data: Path, job: Job) -> None:
        self._runner = asyncio.Runner()
        try:
            self._client = self._runner.run(running.connect(data))
            self._runner.run(self._check(job))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> PastEventPublisher:
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_client"):
            self._runner.run(self._client.close())
        self._runner.close()

    async def _check(self, job: Job) -> None:
        try:
            recorded = await recorded_files.running_hours(self._client)
        except (TimeoutError, Unread, nats.errors.Error) as e:
            raise BusError(f"the server does not say what it has recorded: {e!r}") from e
        if unrecorded := sorted(set(job.looks) - set(recorded)):
            raise SettingError(
                f"{', '.join(unrecorded)} was not recorded by the system that is to be told: its segments have other "
                "numbers there. Set NATS_URL to the one that recorded, or look at its cameras alone by --camera"
            )
        if f"{names.PAST}.>" not in (await infos.stream(self._client, names.EVENTS)).config.subjects:
            raise SettingError("EVENTS takes nothing of the past yet: run 'tidegate setup' of this version")
        if job.analyzes_frames:
            await infos.consumer(self._client, names.EVENTS, _SEARCH)

    def check_capacity(self, size: int) -> None:
        """Raise SettingError if that many bytes would displace too many live events from EVENTS."""
        info = self._runner.run(infos.stream(self._client, names.EVENTS))
        most = info.config.max_bytes
        free = max(most - info.state.bytes, round(_SHARE * most))
        if most > 0 and size > free:
            raise SettingError(
                f"what was found has some {sized(size)}, and EVENTS room for {sized(free)} beside what is live: raise "
                "EVENTS_MAX_BYTES and run 'tidegate setup', or look at less. The results are kept"
            )

    def publish(self, messages: Sequence[Message], *, to_search: bool) -> None:
        """Publish messages. Raises BusError if the server does not answer, or search makes no progress."""
        self._runner.run(self._publish(messages, to_search))

    async def _publish(self, messages: Sequence[Message], to_search: bool) -> None:
        if to_search:
            await self._wait_for_search()
        js = self._client.jetstream()
        for i in range(0, len(messages), _AT_ONCE):
            batch = messages[i : i + _AT_ONCE]
            await asyncio.gather(*(publish(self._client, js, m.subject, m.payload, m.headers) for m in batch))

    async def _wait_for_search(self) -> None:
        lowest, since = 2**63, time.monotonic()
        while True:
            info = await infos.consumer(self._client, names.EVENTS, _SEARCH)
            waiting = info.num_pending + info.num_ack_pending
            if waiting < _MOST_WAITING:
                return
            if waiting < lowest:
                lowest, since = waiting, time.monotonic()
            elif time.monotonic() - since > _TIMEOUT_S:
                raise BusError(
                    f"{waiting:,} events wait for search, which takes none: does it run? 'tidegate up --search' starts "
                    "it"
                )
            await asyncio.sleep(_POLL_S)
