"""Retention of a camera's closed hours: keeps what the policy wants, expires files, and removes unindexed ones.

An hour that is over is closed, whether or not another has begun. Half an hour later all events about it have arrived,
and it is settled: incidents are marked, unwanted files are removed. After that files expire by age and size. The index
is written without a file before the file is removed, and the catalogue last: after a crash another process goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client

from services.recorder import metrics
from services.recorder.ledgers import Ledgers, Taken
from services.recorder.rest import rest_of
from services.recorder.sharing import Sharing
from shared.bus.log import Log
from shared.contract import events, names
from shared.contract.events import Detections, DetectionsRevision, Event, Incident, Tracks
from shared.recordings import ledger as ledgers
from shared.recordings import marks
from shared.recordings.library import DAMAGED, Library
from shared.recordings.marks import Span
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import HOUR, Catalogue, Hole, Hour, HourTotals, Recorded, folder_of, hour_key
from shared.recordings.retention import GB, Aged, files_to_remove, is_old
from shared.recordings.store import StoreUnavailable
from shared.recordings.windows import LONGEST
from shared.runtime.errors import BadMessage, BusError
from shared.runtime.telemetry import logger

EVERY_S = 60.0
# cv may be this late, and backfills deferred frames later.
SETTLE = dt.timedelta(minutes=35)
# A younger unindexed file may be about to be indexed.
UNKNOWN_S = 3600.0
# An incident that began this long ago may still last.
INCIDENT = dt.timedelta(hours=6)

E = TypeVar("E", bound=Event)
# Files by the cause of their removal, as the metric counts it.
Removed = Mapping[str, Sequence[Recorded]]


class Keeper:
    """See the module."""

    def __init__(
        self,
        client: Client,
        library: Library,
        ledgers: Ledgers,
        sharing: Sharing,
        policy_of: Callable[[str], EffectivePolicy],
    ) -> None:
        self._client = client
        self._library = library
        self._ledgers = ledgers
        self._sharing = sharing
        self._policy_of = policy_of
        self._log = logger("recorder")

    async def run(self) -> None:
        """Apply retention to all cameras of this process, also those that no longer send, until cancelled."""
        while True:
            try:
                cameras = [camera for camera in await self._ledgers.cameras() if self._sharing.has(camera)]
                for camera in cameras:
                    await self._one(camera)
                await self.make_room(cameras)
            except (BusError, TimeoutError, nats.errors.Error) as e:
                self._log.debug("recordings not kept", error=repr(e))
            await asyncio.sleep(EVERY_S)

    async def _one(self, camera: str) -> None:
        try:
            async with self._ledgers.only(camera):
                await self.keep(camera, self._policy_of(camera), dt.datetime.now(dt.UTC))
        except Taken:
            self._ledgers.forget(camera)
        except StoreUnavailable as e:
            metrics.FAILED.inc()
            self._log.warning("old recordings can't be removed now", camera=camera, error=str(e))

    async def keep(self, camera: str, policy: EffectivePolicy, now: dt.datetime) -> None:
        """Apply a camera's retention. Raises StoreUnavailable, Unanswered, Taken, nats.errors.Error or TimeoutError."""
        await self._close(camera, now)
        catalogue = await self._library.catalogue(camera)
        for one in catalogue.hours:
            if not one.policy_applied and now >= one.hour + HOUR + SETTLE:
                catalogue = await self._settle(catalogue, one.hour, policy, now)
        await self._expire(catalogue, policy, now)

    async def _close(self, camera: str, now: dt.datetime) -> None:
        ledger = await self._ledgers.of(camera)
        if ledger.hour is not None and now >= ledger.hour + HOUR + LONGEST:
            step = ledgers.close_hour(camera, ledger)
            if step.closed:
                await self._library.close(step.closed)
            await self._ledgers.store(camera, step.ledger)

    # ---- settling

    async def _settle(
        self, catalogue: Catalogue, at: dt.datetime, policy: EffectivePolicy, now: dt.datetime
    ) -> Catalogue:
        hour = await self._library.hour_for_update(catalogue.camera, at) or Hour(camera=catalogue.camera, hour=at)
        async with Log(self._client, names.EVENTS) as log, Log(self._client, names.ALERTS) as alerts:
            incidents = await _incident_spans((log, alerts), hour)
            coverage, activity = await _activity_spans(log, hour, policy) if policy.record == "activity" else ([], [])
        files = [
            msgspec.structs.replace(file, incident=any(span.widen(policy).is_in(file) for span in incidents))
            for file in hour.files
        ]
        row: list[Recorded] = []
        removed: list[Recorded] = []
        holes: list[Hole] = []
        for file in files:
            seen = activity if any(span.is_in(file) for span in coverage) else None
            if marks.stays(file, seen, incidents, policy):
                row.append(file)
                continue
            rest = await rest_of(self._library.store, catalogue.camera, file, policy)
            row += rest
            if file not in rest:
                removed.append(file)
            if not rest:
                holes.append(Hole(since=file.start, until=file.end, cause="policy", segments=file.segments))
        hour = msgspec.structs.replace(hour, files=tuple(row), holes=(*hour.holes, *holes))
        catalogue = await self._delete_files(catalogue, hour, {"policy": removed})
        await self._sweep(hour, now)
        return catalogue

    async def _sweep(self, hour: Hour, now: dt.datetime) -> None:
        """Remove the unindexed files of an hour's folder: left by a process that died, or was too late."""
        indexed = {hour_key(hour.camera, hour.hour), *(file.key for file in hour.files)}
        objects = await self._library.store.list_objects(folder_of(hour.camera, hour.hour))
        if any(one.key.endswith(DAMAGED) for one in objects):
            # A lost index may have named them.
            return
        unknown = [one.key for one in objects if one.key not in indexed and now.timestamp() - one.changed > UNKNOWN_S]
        await self._remove_objects(hour, unknown, "unknown")

    # ---- removing

    async def _expire(self, catalogue: Catalogue, policy: EffectivePolicy, now: dt.datetime) -> None:
        """Remove files past their age, and the oldest ones over the size limit."""
        if policy.hold:
            return
        over = policy.most_gb > 0 and sum(one.size for one in catalogue.hours) > policy.most_gb * GB
        shortest = dt.timedelta(days=min(policy.keep_days, policy.incidents_days))
        wanted = [one for one in catalogue.hours if one.policy_applied and (over or now - one.hour > shortest)]
        hours = [hour for one in wanted if (hour := await self._library.hour_for_update(catalogue.camera, one.hour))]
        row = [Aged(file.key, file.end, file.size, file.incident) for hour in hours for file in hour.files]
        causes = {
            file.key: "age" if is_old(file, policy, now) else "size" for file in files_to_remove(row, policy, now)
        }
        for hour in hours:
            removed: dict[str, list[Recorded]] = {}
            for file in hour.files:
                if file.key in causes:
                    removed.setdefault(causes[file.key], []).append(file)
            if all(file.key in causes for file in hour.files) and now - hour.hour > shortest:
                catalogue = await self._delete_hour(catalogue, hour, removed)
            elif removed:
                catalogue = await self._delete_files(catalogue, hour, removed)

    async def make_room(self, cameras: Sequence[str]) -> None:
        """Remove the oldest hours of all cameras if others need the disk; those with incidents last."""
        try:
            lacks = await self._library.store.lacks()
            if lacks:
                catalogues = [await self._library.catalogue(c) for c in cameras if not self._policy_of(c).hold]
                rows = [
                    (one.incident, one.hour, c.camera, one.size) for c in catalogues for one in c.hours if one.files
                ]
                self._log.warning("the disk of recordings is full: the oldest go", megabytes=lacks // 10**6)
                for _, hour, camera, size in sorted(rows):
                    if lacks <= 0:
                        break
                    await self._delete_hour_for_room(camera, hour)
                    lacks -= size
        except StoreUnavailable as e:
            metrics.FAILED.inc()
            self._log.warning("no room can be made for recordings", error=str(e))

    async def _delete_hour_for_room(self, camera: str, at: dt.datetime) -> None:
        async with self._ledgers.only(camera):
            catalogue, hour = await self._library.catalogue(camera), await self._library.hour_for_update(camera, at)
            if hour:
                await self._delete_files(catalogue, hour, {"room": hour.files})

    async def _delete_files(self, catalogue: Catalogue, hour: Hour, removed: Removed) -> Catalogue:
        """Remove files of a closed hour, and mark it as settled."""
        keys = {file.key for files in removed.values() for file in files}
        hour = msgspec.structs.replace(hour, files=tuple(file for file in hour.files if file.key not in keys))
        await self._library.write_hour(hour)
        for cause, files in removed.items():
            await self._remove_objects(hour, [file.key for file in files], cause)
        catalogue = catalogue.having(HourTotals.of(hour, policy_applied=True))
        await self._library.write_catalogue(catalogue)
        return catalogue

    async def _delete_hour(self, catalogue: Catalogue, hour: Hour, removed: Removed) -> Catalogue:
        """Remove all of an hour, unindexed files included."""
        objects = await self._library.store.list_objects(folder_of(hour.camera, hour.hour))
        over = {file.key for file in removed.get("size", ())}
        aged = [one.key for one in objects if one.key not in over and one.key != hour_key(hour.camera, hour.hour)]
        # The index is removed last: after a crash the hour is found again.
        await self._remove_objects(hour, aged, "age")
        await self._remove_objects(hour, sorted(over), "size")
        await self._library.store.remove([hour_key(hour.camera, hour.hour)])
        catalogue = catalogue.without(hour.hour)
        await self._library.write_catalogue(catalogue)
        return catalogue

    async def _remove_objects(self, hour: Hour, keys: Sequence[str], cause: str) -> None:
        if not keys:
            return
        await self._library.store.remove(keys)
        metrics.REMOVED.labels(cause).inc(len(keys))
        self._log.info(
            "recordings removed", camera=hour.camera, hour=f"{hour.hour:%Y-%m-%dT%H}", files=len(keys), cause=cause
        )


async def _incident_spans(logs: Sequence[Log], hour: Hour) -> list[Span]:
    """Read incidents of both streams: a flood may have evicted them from EVENTS, and the copy may be late."""
    found = [one for log in logs for one in await _read_events(log, Incident, hour, hour.hour - INCIDENT)]
    return marks.incident_spans(found, hour.hour + HOUR)


async def _activity_spans(log: Log, hour: Hour, policy: EffectivePolicy) -> tuple[list[Span], list[Span]]:
    """Return (the analysed times, the times with relevant activity)."""
    detections = [
        *await _read_events(log, Detections, hour, hour.hour),
        *await _read_events(log, DetectionsRevision, hour, hour.hour),
    ]
    coverage = [Span(one.start, one.start + dt.timedelta(seconds=one.duration)) for one in detections]
    if policy.zones:
        tracks = await _read_events(log, Tracks, hour, hour.hour)
        return coverage, [span for one in tracks for span in marks.track_spans(one, policy)]
    return coverage, [span for one in detections for span in marks.object_spans(one, policy)]


async def _read_events(log: Log, kind: type[E], hour: Hour, since: dt.datetime) -> list[E]:
    """Return all events of one kind that were stored since then."""
    subject = names.event(kind.kind, hour.camera)
    found: list[E] = []
    read = await log.since(subject, since)
    while read:
        for stored in read:
            with contextlib.suppress(BadMessage):
                found.append(events.decode(stored.data, kind, stored.subject))
        read = await log.read(subject, read[-1].seq + 1)
    return found
