"""A run's segments, given to whoever asks for one, and what was seen of them, put together.

    giving = Giving(client, job, todo, kept, replicas=lambda: 2)
    await giving.begin()
    opened = await giving.next()         # a piece that is done; None: none was for a while
    await giving.end()

Replicas with time ask, and are given one segment at a time with the video that it is decoded from: they need no access
to recordings, and no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER

from shared.contract import names, second
from shared.contract.events import DetectedObject
from shared.contract.second import PART_BYTES, SILENT_S, Fetch, Seen, Task
from shared.recordings import cutting
from shared.recordings.cutting import Whole
from shared.recordings.records import Unreadable
from shared.recordings.store import Missing
from shared.runtime.errors import BadMessage, BadSegment, TidegateError
from shared.runtime.tasks import end
from tidegate.archive.job import Job, Piece
from tidegate.archive.local import TRIES
from tidegate.archive.place import Place
from tidegate.archive.reading import GONE, Part, check_reached, unopened
from tidegate.archive.tasks import Tasks, TooOften

SERVICE = "cv"
# Without a piece that is done, or a word of a replica, for so long, whoever waits is told why.
QUIET_S = 10.0
# So many segments wait for replicas, for each that runs, and so many bytes of pieces are open at most.
_AHEAD, _MOST_OPEN = 8, 512 * 2**20


class Open:
    """A piece in hand. wholes: its segments. parts, objects: of each, once it was looked at."""

    def __init__(self, piece: Piece, wholes: Sequence[Whole], parts: Sequence[Part | None]) -> None:
        self.piece = piece
        self.wholes = wholes
        self.parts = list(parts)
        self.objects: list[Sequence[Sequence[DetectedObject]]] = [()] * len(parts)
        self.busy_s = 0.0
        self.size = sum(len(whole.payload) for whole in wholes)

    @property
    def is_done(self) -> bool:
        return None not in self.parts

    def take(self, n: int, seen: Seen) -> None:
        """What was seen of its n-th segment."""
        head, seq = self.wholes[n].segment, self.wholes[n].seq
        size = (seen.width or head.width, seen.height or head.height)
        self.parts[n] = Part(head, seq, seen.offsets, size, seen.failed or None)
        self.objects[n] = seen.objects
        self.busy_s += seen.busy_s


class _Errand(NamedTuple):
    """The n-th segment of a piece."""

    opened: Open
    n: int

    @property
    def video(self) -> tuple[bytes, ...]:
        whole = self.opened.wholes[self.n]
        return (*whole.before, whole.payload)


class Giving:
    """Gives the segments of pieces to whoever asks, and takes what was seen. Used in one loop."""

    def __init__(
        self, client: Client, job: Job, todo: Sequence[Piece], kept: Place, replicas: Callable[[], int]
    ) -> None:
        # When somebody last asked; None: nobody has.
        self.asked: float | None = None
        self._client = client
        self._job = job
        self._todo = deque(todo)
        self._kept = kept
        self._replicas = replicas
        self._by = f"{job.run}-{secrets.token_hex(4)}"[-64:]
        self._tasks = Tasks(SILENT_S, TRIES)
        self._errands: dict[int, _Errand] = {}
        self._given = 0
        self._done: asyncio.Queue[Open | TidegateError] = asyncio.Queue()
        self._room = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._opening: asyncio.Task[None] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")

    async def begin(self) -> None:
        for subject, answer in ((names.look(SERVICE), self._give), (names.look(SERVICE, self._by), self._hear)):
            self._subscriptions.append(await self._client.subscribe(subject, queue="reanalyze", cb=answer))
        self._opening = asyncio.create_task(self._open_all())

    async def end(self) -> None:
        await end(self._opening)
        # What is being read is not broken off, and its store is closed next.
        await asyncio.to_thread(self._reader.shutdown)
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def next(self) -> Open | None:
        """A piece that is done; None where none was for a while. Raises TidegateError."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                found = await self._done.get()
                if isinstance(found, TidegateError):
                    raise found
                return found
        return None

    async def _open_all(self) -> None:
        """Have enough ready at any time, and not more."""
        try:
            while self._todo:
                piece = self._todo.popleft()
                opened = await asyncio.get_running_loop().run_in_executor(self._reader, _opened, self._kept, piece)
                if opened.is_done:
                    self._done.put_nowait(opened)
                for n in range(len(opened.wholes)):
                    self._given += 1
                    self._errands[self._given] = _Errand(opened, n)
                    self._tasks.add(self._given)
                while self._tasks.waiting >= _AHEAD * self._replicas() or self._open_bytes() > _MOST_OPEN:
                    self._room.clear()
                    await self._room.wait()
        except TidegateError as e:
            self._done.put_nowait(e)

    def _open_bytes(self) -> int:
        return sum(opened.size for opened in {errand.opened for errand in self._errands.values()})

    async def _give(self, message: Msg) -> None:
        """Answer one who has time."""
        try:
            asks = second.free(message.data)
        except BadMessage:
            return
        task = b""
        if asks.model == self._job.models:
            self.asked = time.monotonic()
            try:
                id = self._tasks.take(self.asked)
            except TooOften as e:
                piece = self._errands[e.id].opened.piece
                self._done.put_nowait(
                    TidegateError(
                        f"{e.times} replicas of cv fell silent over a segment of {piece.key}: leave its time out, or "
                        "see their logs"
                    )
                )
                id = None
            self._room.set()
            task = b"" if id is None else second.encode(self._task(id))
        await message.respond(task)

    def _task(self, id: int) -> Task:
        errand = self._errands[id]
        look = self._job.looks[errand.opened.piece.camera]
        return Task(
            id=str(id),
            by=self._by,
            segment=errand.opened.wholes[errand.n].segment,
            sizes=tuple(map(len, errand.video)),
            fps=look.fps,
            min_score=look.min_score,
            tiles=look.tiles,
            classes=look.classes,
        )

    async def _hear(self, message: Msg) -> None:
        """Answer one who has a task in hand."""
        try:
            said = second.of_task(message.data)
            id = int(said.id)
        except (BadMessage, ValueError):
            return
        if isinstance(said, Seen):
            self._take(id, said)
            answer = b""
        elif not self._tasks.heard(id, time.monotonic()):
            return await self._refuse(message)
        else:
            answer = part(self._errands[id].video, said.begin) if isinstance(said, Fetch) else b""
        if message.reply:
            await message.respond(answer)

    def _take(self, id: int, seen: Seen) -> None:
        if seen.gave_up:
            return self._tasks.give_up(id)
        if self._tasks.done(id):
            opened, n = self._errands.pop(id)
            opened.take(n, seen)
            if opened.is_done:
                self._done.put_nowait(opened)
            self._room.set()
        return None

    async def _refuse(self, message: Msg) -> None:
        if message.reply:
            headers = {ERROR_HEADER: "the task is no longer wanted", ERROR_CODE_HEADER: "410"}
            await self._client.publish(message.reply, b"", headers=headers)


def _opened(kept: Place, piece: Piece) -> Open:
    """Its segments, or why there are none. Raises Unkept where the store can't be used."""
    try:
        data = kept.read(piece.file.key)
        wholes = list(islice(cutting.segments(piece.camera, piece.file, data), piece.end))[piece.begin :]
    except Missing:
        check_reached(kept, piece)
        return Open(piece, (), unopened(piece, GONE).parts)
    except (BadSegment, Unreadable) as e:
        return Open(piece, (), unopened(piece, str(e)).parts)
    return Open(piece, wholes, [None] * len(wholes))


def part(video: Sequence[bytes], begin: int, most: int = PART_BYTES) -> bytes:
    """So many bytes at most of all segments, one after the other, from `begin` on."""
    found, at = bytearray(), 0
    for one in video:
        if at + len(one) > begin and len(found) < most:
            found += one[max(0, begin - at) :][: most - len(found)]
        at += len(one)
    return bytes(found)
