"""Answers on svc.recording: the recordings of a time range, their bytes, and totals by hour.

Video that is not recorded yet is answered from MEDIA, as the file that it would make now. So a client sees one video up
to the last second. Cameras with masks are excepted: video in MEDIA is not masked. Any replica answers for any camera.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from nats.aio.client import Client
from nats.micro.service import Service

from services.recorder.ledgers import Ledgers
from services.recorder.tails import Tails, head_of
from services.recorder.writing import read_segments
from shared.bus import requests
from shared.bus.log import Log
from shared.contract import names
from shared.contract.reading.missing import Unread
from shared.recordings import queries
from shared.recordings.files import VideoFile, build_files
from shared.recordings.ledger import Ledger, open_hour
from shared.recordings.library import Library
from shared.recordings.playing import groups_between
from shared.recordings.policy import EffectivePolicy, Mask
from shared.recordings.queries import (
    HoursRequest,
    ListedFile,
    RangeAnswer,
    RangeRequest,
    RecordingTotals,
    TotalsAnswer,
    VideoRequest,
)
from shared.recordings.records import HOUR, Hole, HourTotals, Recorded, Unreadable
from shared.recordings.retention import Aged, expires_at
from shared.recordings.store import Missing, StoreUnavailable
from shared.recordings.streams import select_streams
from shared.recordings.windows import Head, next_window
from shared.runtime.errors import BadSegment, BusError, Refusal
from shared.video import fmp4

# Files from MEDIA that are cached in memory, each at most a minute long.
MOST_LIVE = 4
# Key prefix of such a file: no camera's id has a dot.
LIVE = "live."
PARALLEL = 4
# Bytes of an answer's payload that are reserved for other data.
ROOM = 4096
# Upper bound of a group of pictures: no file contains a larger one.
MOST_BYTES = 256 * 2**20
_LIVE_KEY = re.compile(rf"{re.escape(LIVE)}([A-Za-z0-9_-]{{1,64}})/([0-9]{{1,18}})-([0-9]{{1,18}})")
_FILE = re.compile(r"[A-Za-z0-9_-]{1,64}/[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9]{2}/[0-9]{4}-[0-9a-f]+-[0-9]+\.mp4")


class Answers:
    """See the module. masks: a camera's masks; it raises Unread if they are unknown."""

    def __init__(
        self,
        client: Client,
        library: Library,
        ledgers: Ledgers,
        tails: Tails,
        policy_of: Callable[[str], EffectivePolicy],
        masks: Callable[[str], Sequence[Mask]],
    ) -> None:
        self._client = client
        self._library = library
        self._ledgers = ledgers
        self._tails = tails
        self._policy_of = policy_of
        self._masks = masks
        self._live = OrderedDict[str, VideoFile]()
        self._reading = asyncio.Lock()

    async def start(self) -> Service:
        """Start answering. Returns the service, which the caller stops."""
        endpoints = {
            "range": (names.RECORDING, self._answer_range),
            "video": (names.RECORDING_VIDEO, self._answer_video),
            "hours": (names.RECORDING_HOURS, self._answer_hours),
        }
        purpose = "gives what was recorded of a camera"
        return await requests.serve(self._client, names.micro("recorder"), purpose, endpoints, parallel=PARALLEL)

    def drop(self, camera: str) -> None:
        """Forget the video of a camera that is in memory."""
        for key in [key for key in self._live if key.startswith(f"{LIVE}{camera}/")]:
            del self._live[key]

    # ---- a time

    async def _answer_range(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        query = _read(payload, RangeRequest)
        if not query.since < query.until <= query.since + queries.LONGEST:
            hours = queries.LONGEST // HOUR
            raise Refusal(400, f"until must be after since, and at most {hours} h later: choose a shorter range")
        rows, holes = await self._between(query.camera, query.since, query.until)
        row = groups_between(rows, query.since, query.until)
        part = row[query.skip : query.skip + queries.MOST]
        found = RangeAnswer(camera=query.camera, plays=part, holes=holes, more=query.skip + len(part) < len(row))
        return msgspec.json.encode(found), {}

    async def _between(self, camera: str, since: dt.datetime, until: dt.datetime) -> tuple[list[Recorded], list[Hole]]:
        try:
            ledger = await self._ledgers.fresh(camera)
            rows, holes = await self._library.between(camera, since, until, open_hour(camera, ledger))
            if (ledger.last is None or until > ledger.last.end) and not self._masks(camera):
                rows += await self._live_files(camera, ledger, since, until)
        except (StoreUnavailable, Unreadable, Unread, BusError) as e:
            raise Refusal(503, str(e)) from e
        return rows, holes

    # ---- what is not recorded yet

    async def _live_files(self, camera: str, ledger: Ledger, since: dt.datetime, until: dt.datetime) -> list[Recorded]:
        """Return the files that its segments would make now. Raises nats.errors.Error or TimeoutError."""
        found: list[Recorded] = []
        async with Log(self._client, names.MEDIA) as log:
            heads = self._tails.since(camera, ledger.position)
            if heads is None:
                heads = await self._tails.learn(log, camera, ledger.position)
            heads = select_streams(heads, ledger.last, ended=False)
            while part := next_window(heads, ended=True):
                row, heads = heads[part.passed : part.passed + part.taken], heads[part.passed + part.taken :]
                if row and row[0].segment.start < until and row[-1].end > since:
                    found += [file.record for file in await self._video_files(log, camera, row)]
        return found

    async def _video_files(self, log: Log, camera: str, row: Sequence[Head]) -> list[VideoFile]:
        read = await read_segments(log, row)
        built, _ = await asyncio.to_thread(build_files, read, secrets.token_hex(4))
        found = []
        for one in built:
            key = f"{LIVE}{camera}/{one.record.first_seq}-{one.record.last_seq}"
            found.append(one._replace(record=msgspec.structs.replace(one.record, key=key)))
            self._live[key] = found[-1]
            self._live.move_to_end(key)
        while len(self._live) > MOST_LIVE:
            self._live.popitem(last=False)
        return found

    async def _live_bytes(self, key: str, begin: int, end: int) -> bytes:
        """Raises Missing; nats.errors.Error or TimeoutError."""
        file = self._live.get(key) or await self._video_file(key)
        return b"".join(file.buffers)[begin:end]

    async def _video_file(self, key: str) -> VideoFile:
        """Build a file from MEDIA by its key, which another replica may have given out."""
        match = _LIVE_KEY.fullmatch(key)
        if match is None:
            raise Missing(f"{key} is no recording")
        camera, first, last = match[1], int(match[2]), int(match[3])
        async with Log(self._client, names.MEDIA) as log:
            built: list[VideoFile] = []
            for subject in names.streams_of(camera):
                heads = await _heads_between(log, subject, first, last)
                if heads and heads[0].seq == first:
                    built = await self._video_files(log, camera, heads)
        found = [one for one in built if one.record.key == key]
        if not found:
            raise Missing(f"{key} is recorded by now, or no longer kept: ask for the range again")
        return found[0]

    # ---- bytes

    async def _answer_video(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        query = _read(payload, VideoRequest)
        if not query.begin < query.end <= query.begin + MOST_BYTES:
            raise Refusal(400, f"end must be after begin, and at most {MOST_BYTES} bytes later: request it in parts")
        try:
            async with self._reading:
                data = await self._bytes(query)
                if query.ticks is not None:
                    data = fmp4.later(data, query.ticks, query.sequence)
        except Missing as e:
            raise Refusal(404, str(e)) from e
        except (StoreUnavailable, Unread, BusError) as e:
            raise Refusal(503, str(e)) from e
        except Unreadable as e:
            raise Refusal(400, str(e)) from e
        except BadSegment as e:
            raise Refusal(400, f"{query.file} has no such group: {e}") from e
        most = self._client.max_payload - ROOM
        return data[query.offset : query.offset + most], {queries.SIZE: str(len(data))}

    async def _bytes(self, query: VideoRequest) -> bytes:
        if query.file.startswith(f"{LIVE}{query.camera}/"):
            if self._masks(query.camera):
                raise Missing(f"{query.camera} has masks, which what is not recorded yet is without")
            return await self._live_bytes(query.file, query.begin, query.end)
        # The client may see this camera alone: only its files are read.
        if not _FILE.fullmatch(query.file) or not query.file.startswith(f"{query.camera}/"):
            raise Missing(f"{query.file} is no recording of {query.camera}")
        return await self._library.store.read(query.file, query.begin, query.end)

    # ---- hours

    async def _answer_hours(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        query = _read(payload, HoursRequest)
        try:
            cameras = [query.camera] if query.camera else await self._ledgers.cameras()
            totals = [
                await self._total(camera, hours=query.camera is not None and query.day is None) for camera in cameras
            ]
            if query.camera and query.day:
                totals = [await self._with_files(totals[0], query.since)]
        except (StoreUnavailable, Unreadable, BusError) as e:
            raise Refusal(503, str(e)) from e
        return msgspec.json.encode(TotalsAnswer(cameras=totals)), {}

    async def _total(self, camera: str, *, hours: bool) -> RecordingTotals:
        ledger = await self._ledgers.fresh(camera)
        catalogue = await self._library.catalogue(camera)
        if now := open_hour(camera, ledger):
            # An hour that was closed early is in both.
            catalogue = catalogue.adding(HourTotals.of(now))
        lost: dict[str, float] = {}
        for one in catalogue.hours:
            for cause, seconds in one.lost.items():
                lost[cause] = round(lost.get(cause, 0.0) + seconds, 3)
        first = next((one for one in catalogue.hours if one.files), None)
        policy = self._policy_of(camera)
        return RecordingTotals(
            camera=camera,
            seconds=round(sum(one.seconds for one in catalogue.hours), 3),
            size=sum(one.size for one in catalogue.hours),
            lost=lost,
            first=first.hour if first else None,
            last=ledger.last.end if ledger.last else None,
            policy=policy,
            goes=expires_at(Aged("", first.hour + HOUR, 0, first.incident), policy) if first else None,
            hours=list(catalogue.hours) if hours else [],
        )

    async def _with_files(self, total: RecordingTotals, since: dt.datetime) -> RecordingTotals:
        """Add the files and holes of a day."""
        until = since + dt.timedelta(days=1)
        ledger = await self._ledgers.fresh(total.camera)
        rows, holes = await self._library.between(total.camera, since, until, open_hour(total.camera, ledger))
        files = [
            ListedFile(
                key=row.key,
                start=row.start,
                end=row.end,
                size=row.size,
                incident=row.incident,
                goes=expires_at(Aged(row.key, row.end, row.size, row.incident), total.policy),
                keyframes=row.keyframes,
            )
            for row in rows
            if row.start >= since
        ]
        return msgspec.structs.replace(total, files=files, holes=holes)


async def _heads_between(log: Log, subject: str, first: int, last: int) -> list[Head]:
    heads: list[Head] = []
    while first <= last and (part := await log.read(subject, first)):
        heads += [head for stored in part if stored.seq <= last and (head := head_of(stored))]
        first = part[-1].seq + 1
    return heads


T = TypeVar("T", bound=msgspec.Struct)


def _read(payload: bytes, kind: type[T]) -> T:
    """Decode a request. Raises Refusal."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refusal(400, f"this is no request for recordings ({e}): see docs/how-to/record.md") from e
