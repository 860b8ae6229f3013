"""Assigns a run's segments to idle replicas of cv, and collects their results by piece.

    server = TaskServer(client, job, todo, recordings, replicas=lambda: 2)
    await server.begin()
    opened = await server.next()         # a finished piece; None: none for a while
    await server.end()

An idle replica requests one segment at a time, with the video to decode: it needs no access to recordings, and no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER

from shared.contract import names
from shared.contract.events import DetectedObject
from shared.contract.work import reanalysis
from shared.contract.work.reanalysis import PART_BYTES, SILENT_S, Fetch, Seen, Task
from shared.recordings import cutting
from shared.recordings.cutting import OriginalSegment
from shared.recordings.records import Unreadable
from shared.recordings.store import Missing
from shared.runtime.errors import BadMessage, BadSegment, TidegateError
from shared.runtime.tasks import end
from tidegate.archive.engines.local_engine import TRIES
from tidegate.archive.frames.decoding import FILE_MISSING, SampledSegment, check_store_reachable, failed_piece
from tidegate.archive.job import Job, Piece
from tidegate.archive.sync_store import SyncStore

SERVICE = "cv"
# Seconds without a finished piece, or without a replica's message, after which the run reports why it waits.
SILENCE_S = 10.0
# Maximum segments that wait for each running replica, and bytes of open pieces.
_AHEAD, _MOST_OPEN = 8, 512 * 2**20


class TooManyTimeouts(TidegateError):
    """Several workers fell silent over the task `id`. times: how many."""

    def __init__(self, id: int, times: int) -> None:
        super().__init__(f"task {id} was given {times} times, and never answered")
        self.id, self.times = id, times


class TaskQueue:
    """Tasks with leases: a task whose worker falls silent is queued again. Pure.

    silent_s: seconds until a lease expires. most_tries: maximum leases of a task.
    """

    def __init__(self, silent_s: float, most_tries: int) -> None:
        self._silent_s = silent_s
        self._most_tries = most_tries
        self._waiting: deque[int] = deque()
        self._in_flight: dict[int, float] = {}
        self._expirations: Counter[int] = Counter()

    def add(self, id: int) -> None:
        self._waiting.append(id)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, now: float) -> int | None:
        """Lease the next task; None: none waits. Raises TooManyTimeouts."""
        self._expire(now)
        if not self._waiting:
            return None
        id = self._waiting.popleft()
        self._in_flight[id] = now
        return id

    def renew(self, id: int, now: float) -> bool:
        """Renew a task's lease. Return whether it has one."""
        if id in self._in_flight:
            self._in_flight[id] = now
        return id in self._in_flight

    def give_up(self, id: int) -> None:
        """Return a task that its worker does not finish: it is the next one to lease."""
        if self._in_flight.pop(id, None) is not None:
            self._waiting.appendleft(id)

    def finish(self, id: int) -> bool:
        """Remove a task that has a result. Return whether this is its first result."""
        if id in self._waiting:
            self._waiting.remove(id)
        elif self._in_flight.pop(id, None) is None:
            return False
        self._expirations.pop(id, None)
        return True

    def _expire(self, now: float) -> None:
        """Queue the tasks whose leases have expired. Raises TooManyTimeouts."""
        for id in [id for id, at in self._in_flight.items() if now - at > self._silent_s]:
            self._expirations[id] += 1
            if self._expirations[id] >= self._most_tries:
                raise TooManyTimeouts(id, self._expirations[id])
            self.give_up(id)


class OpenPiece:
    """A piece in progress. wholes: its segments with their video. segments, objects: of each, once analysed."""

    def __init__(
        self, piece: Piece, wholes: Sequence[OriginalSegment], segments: Sequence[SampledSegment | None]
    ) -> None:
        self.piece = piece
        self.wholes = wholes
        self.segments = list(segments)
        self.objects: list[Sequence[Sequence[DetectedObject]]] = [()] * len(segments)
        self.busy_s = 0.0
        self.size = sum(len(whole.payload) for whole in wholes)

    @property
    def is_finished(self) -> bool:
        return None not in self.segments

    def take(self, n: int, seen: Seen) -> None:
        """Add the result of the n-th segment."""
        head, seq = self.wholes[n].segment, self.wholes[n].seq
        size = (seen.width or head.width, seen.height or head.height)
        self.segments[n] = SampledSegment(head, seq, seen.offsets, size, seen.failed or None)
        self.objects[n] = seen.objects
        self.busy_s += seen.busy_s


class _SegmentTask(NamedTuple):
    """The n-th segment of an open piece."""

    opened: OpenPiece
    n: int

    @property
    def video(self) -> tuple[bytes, ...]:
        whole = self.opened.wholes[self.n]
        return (*whole.before, whole.payload)


class TaskServer:
    """See the module. Used in one event loop. replicas: returns how many run."""

    def __init__(
        self, client: Client, job: Job, todo: Sequence[Piece], recordings: SyncStore, replicas: Callable[[], int]
    ) -> None:
        # The time of the last request of an idle replica, if any.
        self.last_request: float | None = None
        self._client = client
        self._job = job
        self._todo = deque(todo)
        self._recordings = recordings
        self._replicas = replicas
        self._by = f"{job.run}-{secrets.token_hex(4)}"[-64:]
        self._tasks = TaskQueue(SILENT_S, TRIES)
        self._segment_tasks: dict[int, _SegmentTask] = {}
        self._last_id = 0
        self._finished: asyncio.Queue[OpenPiece | TidegateError] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._reading: asyncio.Task[None] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")

    async def begin(self) -> None:
        handlers = {
            names.reanalysis(SERVICE): self._on_idle,
            names.reanalysis(SERVICE, self._by): self._on_task_message,
        }
        for subject, handler in handlers.items():
            self._subscriptions.append(await self._client.subscribe(subject, queue="reanalyze", cb=handler))
        self._reading = asyncio.create_task(self._read_all())

    async def end(self) -> None:
        await end(self._reading)
        # The caller closes the store next: wait for a read in progress, which can't be cancelled.
        await asyncio.to_thread(self._reader.shutdown)
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def next(self) -> OpenPiece | None:
        """Wait for a finished piece; None after SILENCE_S. Raises TidegateError."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                finished = await self._finished.get()
                if isinstance(finished, TidegateError):
                    raise finished
                return finished
        return None

    async def _read_all(self) -> None:
        """Read all pieces, a bounded number of segments ahead of the replicas."""
        try:
            while self._todo:
                piece = self._todo.popleft()
                opened = await asyncio.get_running_loop().run_in_executor(self._reader, _open, self._recordings, piece)
                if opened.is_finished:
                    self._finished.put_nowait(opened)
                for n in range(len(opened.wholes)):
                    self._last_id += 1
                    self._segment_tasks[self._last_id] = _SegmentTask(opened, n)
                    self._tasks.add(self._last_id)
                while self._tasks.waiting >= _AHEAD * self._replicas() or self._open_bytes() > _MOST_OPEN:
                    self._has_room.clear()
                    await self._has_room.wait()
        except TidegateError as e:
            self._finished.put_nowait(e)

    def _open_bytes(self) -> int:
        return sum(opened.size for opened in {task.opened for task in self._segment_tasks.values()})

    async def _on_idle(self, message: Msg) -> None:
        """Reply to an idle replica with a task, or with nothing."""
        try:
            request = reanalysis.free(message.data)
        except BadMessage:
            return
        reply = b""
        if request.model == self._job.models:
            self.last_request = time.monotonic()
            try:
                id = self._tasks.take(self.last_request)
            except TooManyTimeouts as e:
                piece = self._segment_tasks[e.id].opened.piece
                self._finished.put_nowait(
                    TidegateError(
                        f"{e.times} replicas of cv fell silent over a segment of {piece.key}: leave its time out, or "
                        "see their logs"
                    )
                )
                id = None
            self._has_room.set()
            reply = b"" if id is None else reanalysis.encode(self._task(id))
        await message.respond(reply)

    def _task(self, id: int) -> Task:
        task = self._segment_tasks[id]
        settings = self._job.looks[task.opened.piece.camera]
        return Task(
            id=str(id),
            by=self._by,
            segment=task.opened.wholes[task.n].segment,
            sizes=tuple(map(len, task.video)),
            fps=settings.fps,
            min_score=settings.min_score,
            tiles=settings.tiles,
            classes=settings.classes,
        )

    async def _on_task_message(self, message: Msg) -> None:
        """Handle a message on a task in flight: reply with its video, or take its result."""
        try:
            request = reanalysis.of_task(message.data)
            id = int(request.id)
        except (BadMessage, ValueError):
            return
        if isinstance(request, Seen):
            self._take(id, request)
            reply = b""
        elif not self._tasks.renew(id, time.monotonic()):
            return await self._refuse(message)
        else:
            reply = video_part(self._segment_tasks[id].video, request.begin) if isinstance(request, Fetch) else b""
        if message.reply:
            await message.respond(reply)

    def _take(self, id: int, seen: Seen) -> None:
        if seen.gave_up:
            return self._tasks.give_up(id)
        if self._tasks.finish(id):
            opened, n = self._segment_tasks.pop(id)
            opened.take(n, seen)
            if opened.is_finished:
                self._finished.put_nowait(opened)
            self._has_room.set()
        return None

    async def _refuse(self, message: Msg) -> None:
        if message.reply:
            headers = {ERROR_HEADER: "the task is no longer wanted", ERROR_CODE_HEADER: "410"}
            await self._client.publish(message.reply, b"", headers=headers)


def _open(recordings: SyncStore, piece: Piece) -> OpenPiece:
    """Read a piece's segments; a broken piece has the reason. Raises StoreUnavailable if the store can't be used."""
    try:
        data = recordings.read(piece.file.key)
        wholes = list(islice(cutting.split_file(piece.camera, piece.file, data), piece.end))[piece.begin :]
    except Missing:
        check_store_reachable(recordings, piece)
        return OpenPiece(piece, (), failed_piece(piece, FILE_MISSING).segments)
    except (BadSegment, Unreadable) as e:
        return OpenPiece(piece, (), failed_piece(piece, str(e)).segments)
    return OpenPiece(piece, wholes, [None] * len(wholes))


def video_part(video: Sequence[bytes], begin: int, size: int = PART_BYTES) -> bytes:
    """Return at most `size` bytes of the concatenated segments, from `begin` on."""
    part, at = bytearray(), 0
    for one in video:
        if at + len(one) > begin and len(part) < size:
            part += one[max(0, begin - at) :][: size - len(part)]
        at += len(one)
    return bytes(part)
