"""Sums of the messages of USAGE: arrivals by the minute, and the work of workers and cameras.

    book = await read(client, since)           # or Book(), and `take` each message, in any order, repeats too
    used = book.of("cv")
    used.first, used.arrivals                  # a minute since 1970, and the messages of it and of each that follows

A process and number identify a message, so a repeat counts once. An implausible message, by its fields or its time of
storage, is only counted in `bad`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from numpy.typing import NDArray

from shared.bus.log import Log
from shared.contract import catalog, names
from shared.contract.work.usage import MINUTE_S, IngestUsage, Usage, WorkerUsage, decode
from shared.runtime.errors import BadMessage, BusError

# No site has more; a larger claim would fill the memory.
MOST_CAMERAS = 100_000
# A period is minutes long, and clocks differ by less than these.
_DAY_S = 24 * 3600.0
_AHEAD_S = 3600.0
# The oldest message that a worker can be the first to take: EVENTS stores it for seven days.
_WAITED_S = 8 * _DAY_S
# A process that is silent for longer has ended: twice an ingest's report interval.
_SILENT_S = 3600


class CameraTotal(msgspec.Struct):
    """A camera's video over the whole time."""

    seconds: int = 0
    megabytes: float = 0.0
    frames: int = 0


class ServiceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """first: the first known minute. arrivals: messages of it and of each that follows. known: whether a process ran
    that would have reported one. from_cameras: minutes without a worker's report, so that the cameras' video stands in.
    workers: their periods, without arrivals.
    """

    service: str
    first: int
    arrivals: NDArray[np.int64]
    known: NDArray[np.bool_]
    from_cameras: int
    workers: list[WorkerUsage]


class Book:
    """See the module. camera: count the minutes of this camera alone: all would fill the memory."""

    def __init__(self, camera: str = "") -> None:
        self.bad = 0
        self._camera = camera
        self._read: set[tuple[str, str, int]] = set()
        self._workers: defaultdict[str, list[WorkerUsage]] = defaultdict(list)
        self._taken: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._ingests: list[IngestUsage] = []
        self._sent: Counter[int] = Counter()
        self._cameras: defaultdict[str, CameraTotal] = defaultdict(CameraTotal)

    def take(self, subject: str, stored_at: float, data: bytes) -> None:
        """Add a message. stored_at: Unix seconds by the server's clock."""
        try:
            usage = decode(subject, data)
            _check_times(usage, stored_at)
        except BadMessage:
            self.bad += 1
            return
        key = subject, usage.process, usage.n
        if key in self._read:
            return
        if isinstance(usage, IngestUsage):
            if len(self._cameras) + len(usage.cameras.keys() - self._cameras.keys()) > MOST_CAMERAS:
                self.bad += 1
                return
            self._ingests.append(msgspec.structs.replace(usage, cameras={}))
            self._add_cameras(usage)
        else:
            service = subject.removeprefix(names.usage(""))
            self._workers[service].append(msgspec.structs.replace(usage, arrivals={}))
            for minutes in usage.arrivals.values():
                self._taken[service].update(minutes)
        self._read.add(key)

    def _add_cameras(self, usage: IngestUsage) -> None:
        for camera, sent in usage.cameras.items():
            total = self._cameras[camera]
            total.seconds += sent.seconds
            total.megabytes += sent.megabytes
            total.frames += sent.frames
            if self._camera in ("", camera):
                self._sent.update(dict(enumerate(sent.segments, sent.first)))

    @property
    def services(self) -> list[str]:
        """Return the services whose arrivals are known."""
        fed = [s.name for s in catalog.services() if s.heartbeat and takes_media(s.name)] if self._sent else []
        return list(dict.fromkeys([*self._workers, *fed]))

    @property
    def cameras(self) -> dict[str, CameraTotal]:
        """Return what each camera sent, the largest first."""
        return dict(sorted(self._cameras.items(), key=lambda item: -item[1].seconds))

    def of(self, service: str, *, since: int = 0) -> ServiceUsage | None:
        """Return a service's arrivals; None if nothing is known. since: from this minute.

        The video of cameras is the arrivals of a service that takes all of MEDIA. It stands in for minutes without a
        worker's report, and for those of one camera, which workers don't tell apart.
        """
        ingests, sent = (self._ingests, self._sent) if takes_media(service) else ([], Counter[int]())
        workers, taken = ([], Counter[int]()) if self._camera else (self._workers[service], self._taken[service])
        end = _end(workers, ingests)
        there = {m for m in (*sent, *taken, *_minutes_of(workers), *_minutes_of(ingests)) if since <= m < end}
        if not there:
            return None
        first = min(there)
        is_known = np.zeros(max(there) + 1 - first, dtype=np.bool_)
        is_known[[minute - first for minute in there]] = True
        span = range(first, first + len(is_known))
        by_workers = np.array([taken[minute] for minute in span], dtype=np.int64)
        by_cameras = np.array([sent[minute] for minute in span], dtype=np.int64)
        filled = (by_workers == 0) & (by_cameras > 0)
        return ServiceUsage(
            service=service,
            first=first,
            arrivals=np.where(filled, by_cameras, by_workers),
            known=is_known,
            from_cameras=int(filled.sum()),
            workers=[w for w in workers if w.until > since * MINUTE_S],
        )


def takes_media(service: str) -> bool:
    """Return whether the cameras' video is the service's arrivals."""
    of = (c for s in catalog.services() if s.name == service for c in s.consumers)
    return any((c.stream, c.filters, c.headers_only) == (names.MEDIA, (names.media(">"),), False) for c in of)


def _check_times(usage: WorkerUsage | IngestUsage, stored_at: float) -> None:
    """Raise BadMessage for a period, or a minute, that contradicts its message's time of storage."""
    if not stored_at - 2 * _DAY_S <= usage.since <= usage.until <= stored_at + _AHEAD_S:
        raise BadMessage(f"not usage: it is of {usage.since} to {usage.until}, and was stored at {stored_at:.0f}")
    if isinstance(usage, IngestUsage):
        minutes = [m for sent in usage.cameras.values() for m in (sent.first, sent.first + len(sent.segments) - 1)]
        oldest = usage.since
    else:
        minutes = [minute for found in usage.arrivals.values() for minute in found]
        oldest = usage.since - int(_WAITED_S)
    if minutes and not oldest // MINUTE_S <= min(minutes) <= max(minutes) <= (usage.until + _AHEAD_S) // MINUTE_S:
        raise BadMessage(f"not usage: its minutes are not of {usage.since} to {usage.until}")


def _minutes_of(usages: Iterable[Usage]) -> Iterator[int]:
    for usage in usages:
        yield from range(usage.since // MINUTE_S, usage.until // MINUTE_S + 1)


def _end(workers: Iterable[Usage], ingests: Iterable[Usage]) -> int:
    """Return the first minute with reports missing. An ended process, or a long silent one, does not count."""
    last_workers, last_ingests = _last(workers), _last(ingests)
    newest = max((usage.until for usage in (*last_workers, *last_ingests)), default=0)

    def heard(last: Iterable[Usage]) -> list[int]:
        return [u.until for u in last if not u.is_last and newest - u.until < _SILENT_S]

    if there := heard(last_workers):
        return min(there) // MINUTE_S
    if there := heard(last_ingests):
        return max(min(there), *(usage.until for usage in last_workers), 0) // MINUTE_S
    # If all have ended, the minute of the last end is known, too.
    return newest // MINUTE_S + 1


def _last(usages: Iterable[Usage]) -> list[Usage]:
    """Return the last message of each process."""
    last: dict[str, Usage] = {}
    for usage in usages:
        if usage.process not in last or usage.n > last[usage.process].n:
            last[usage.process] = usage
    return list(last.values())


# Progress: the number of messages read.
Tell = Callable[[int], None]


async def read(client: Client, since: dt.datetime, tell: Tell = lambda count: None, *, camera: str = "") -> Book:
    """Return the messages stored since then. camera: as in `Book`. Raises BusError if there is no such stream."""
    try:
        await client.jetstream().stream_info(names.USAGE)
    except NotFoundError as e:
        raise BusError("stream USAGE is missing: run 'tidegate setup'") from e
    book, count = Book(camera), 0
    async with Log(client, names.USAGE) as log:
        found = await log.since(names.usage("*"), since)
        while found:
            for stored in found:
                book.take(stored.subject, stored.time.timestamp(), stored.data)
            count += len(found)
            tell(count)
            found = await log.read(names.usage("*"), found[-1].seq + 1)
    return book
