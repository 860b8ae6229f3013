"""What a run found, told to search and to who sums up captions: as events of the past, which no live reader takes.
docs/adr/0013 says why so.

    with Teller(data, job) as teller:            # the system that runs there
        for told in tell(run.job, run.pieces, run.chapters, results, teller): ...

A piece, or a chapter of captions, is told as a whole, and marked then; who is killed in between tells it again. Events
are known by their ids, so that nothing is found twice: neither what was told twice, nor what live had seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import nats.errors

from shared.bus import infos
from shared.bus.publish import header_bytes, publish
from shared.contract import events, names
from shared.contract.events import Past
from shared.contract.missing import Unread
from shared.runtime.errors import BusError, SettingError
from tidegate.archive import finding, rows
from tidegate.archive.chapters import CAPTIONS, Chapter
from tidegate.archive.job import NONE, Job, Piece
from tidegate.archive.looking import key_of
from tidegate.archive.place import Place
from tidegate.archive.probe import some
from tidegate.local import running
from tidegate.view.words import sized

# So many are on their way at once, and so many may wait for search: live events wait behind them.
_AT_ONCE, _MOST_WAITING = 64, 2000
# So long we wait for search to take any.
_PATIENCE_S, _ASK_S = 60.0, 0.5
# Of EVENTS, where it is full: so much of what is live may go before its time.
_SHARE = 0.1
_MARKS = "told"
_SEARCH = "search"


class Message(NamedTuple):
    """As it is published. id: of the live event."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class Told(NamedTuple):
    """parts: that were told, of how many. events: of those that were told now."""

    parts: int
    of: int
    events: int


def tell(
    job: Job, pieces: Sequence[Piece], chapters: Sequence[Chapter], results: Place, teller: Teller
) -> Iterator[Told]:
    """Tell what was not told yet. Raises TidegateError."""
    marked = {held.key for held in results.held(_MARKS)}
    parts: list[Piece | Chapter] = [*(pieces if job.looks_at_pictures else ()), *chapters]
    left = [part for part in parts if _mark(part) not in marked]
    if left:
        samples = [sum(map(_size, found_in(job, part, results))) for part in some(left)]
        teller.check_room(sum(samples) * len(left) // len(samples))
    count = 0
    for n, part in enumerate(left, 1):
        found = list(found_in(job, part, results))
        teller.tell(found, to_search=isinstance(part, Piece))
        results.put(_mark(part), b"{}")
        count += len(found)
        yield Told(len(parts) - len(left) + n, len(parts), count)


def found_in(job: Job, part: Piece | Chapter, results: Place) -> Iterator[Message]:
    """What there is to find in a piece, or is said in a chapter: segments without objects, or vectors, and stretches
    without a caption are left out. Raises Unkept.
    """
    if isinstance(part, Chapter):
        for row in rows.read(results.read(key_of(CAPTIONS, part.key))):
            if row["text"]:
                yield _message(row["id"], events.past(rows.captioned(row), job.run))
        return
    if job.model != NONE:
        for row in rows.read(results.read(key_of("segments", part.key))):
            if any(frame["objects"] for frame in row["frames"]):
                yield _message(row["id"], events.past(rows.event(row), job.run))
    if job.embed:
        for id, event in rows.embedded(rows.read(results.read(key_of("embeddings", part.key)))):
            yield _message(id, events.past(event, job.run))


def _message(id: str, event: Past) -> Message:
    headers = events.headers(event, id=id, source=names.source("reanalyze"))
    return Message(events.subject(event), events.encode(event), headers)


def _size(message: Message) -> int:
    return len(message.subject) + len(message.payload) + header_bytes(message.headers)


def _mark(part: Piece | Chapter) -> str:
    of = f"{CAPTIONS}/" if isinstance(part, Chapter) else ""
    return f"{_MARKS}/{of}{part.key}.json"


class Teller:
    """The system that runs on `data`, or that NATS_URL names. Raises BusError, and SettingError where it is another
    one than that which recorded, or can't be told.
    """

    def __init__(self, data: Path, job: Job) -> None:
        self._runner = asyncio.Runner()
        try:
            self._client = self._runner.run(running.connect(data))
            self._runner.run(self._check(job))
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if hasattr(self, "_client"):
            self._runner.run(self._client.close())
        self._runner.close()

    async def _check(self, job: Job) -> None:
        try:
            recorded = await finding.running_hours(self._client)
        except (TimeoutError, Unread, nats.errors.Error) as e:
            raise BusError(f"the server does not say what it has recorded: {e!r}") from e
        if strange := sorted(set(job.looks) - set(recorded)):
            raise SettingError(
                f"{', '.join(strange)} was not recorded by the system that is to be told: its segments have other "
                "numbers there. Set NATS_URL to the one that recorded, or look at its cameras alone by --camera"
            )
        if f"{names.PAST}.>" not in (await infos.stream(self._client, names.EVENTS)).config.subjects:
            raise SettingError("EVENTS takes nothing of the past yet: run 'tidegate setup' of this version")
        if job.looks_at_pictures:
            await infos.consumer(self._client, names.EVENTS, _SEARCH)

    def check_room(self, size: int) -> None:
        """Raises SettingError where so many bytes would push too much out of EVENTS that is live."""
        info = self._runner.run(infos.stream(self._client, names.EVENTS))
        most = info.config.max_bytes
        room = max(most - info.state.bytes, round(_SHARE * most))
        if most > 0 and size > room:
            raise SettingError(
                f"what was found has some {sized(size)}, and EVENTS room for {sized(room)} beside what is live: raise "
                "EVENTS_MAX_BYTES and run 'tidegate setup', or look at less. The results are kept"
            )

    def tell(self, messages: Sequence[Message], *, to_search: bool) -> None:
        """Raises BusError where the server, or search, takes no more."""
        self._runner.run(self._tell(messages, to_search))

    async def _tell(self, messages: Sequence[Message], to_search: bool) -> None:
        if to_search:
            await self._room_in_search()
        js = self._client.jetstream()
        for i in range(0, len(messages), _AT_ONCE):
            batch = messages[i : i + _AT_ONCE]
            await asyncio.gather(*(publish(self._client, js, m.subject, m.payload, m.headers) for m in batch))

    async def _room_in_search(self) -> None:
        least, since = 2**63, time.monotonic()
        while True:
            info = await infos.consumer(self._client, names.EVENTS, _SEARCH)
            waiting = info.num_pending + info.num_ack_pending
            if waiting < _MOST_WAITING:
                return
            if waiting < least:
                least, since = waiting, time.monotonic()
            elif time.monotonic() - since > _PATIENCE_S:
                raise BusError(
                    f"{waiting:,} events wait for search, which takes none: does it run? 'tidegate up --search' starts "
                    "it"
                )
            await asyncio.sleep(_ASK_S)
