"""Erases a camera's recordings on request: all of them, or the files that show a time range.

The process that records the camera answers, all others are silent. The ledger and the indexes are written without the
files before these are removed: after a crash another request completes it. A hold refuses, unless the request says
otherwise.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from services.recorder import metrics
from services.recorder.answering import Answers
from services.recorder.ledgers import Ledgers, Taken
from services.recorder.sharing import Sharing
from services.recorder.tails import Tails
from shared.bus import requests
from shared.contract import names
from shared.contract.questions.erasure import Erased, ErasureRequest
from shared.recordings.ledger import Ledger, open_hour
from shared.recordings.library import Library
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import Hole, Hour, HourTotals, Recorded, Unreadable, catalogue_key
from shared.recordings.store import StoredObject, StoreUnavailable
from shared.recordings.windows import LONGEST
from shared.runtime.errors import BusError, Refusal
from shared.runtime.telemetry import logger

# A request does this many seconds of work, and its answer asks for another one.
PART_S = 20.0
# Files that are removed together.
BATCH = 500
_FILE = re.compile(r"[^/]+/(\d{4}-\d{2}-\d{2}/\d{2})/(\d{4})-[0-9a-f]+-[0-9]+\.mp4")


class _Found(NamedTuple):
    """A file to erase, and what it shows. The end of an unindexed one is an upper bound."""

    key: str
    size: int
    start: dt.datetime
    end: dt.datetime


class Eraser:
    """See the module. policy_of: the policy of a camera."""

    def __init__(
        self,
        client: Client,
        library: Library,
        ledgers: Ledgers,
        sharing: Sharing,
        tails: Tails,
        answers: Answers,
        policy_of: Callable[[str], EffectivePolicy],
    ) -> None:
        self._client = client
        self._library = library
        self._ledgers = ledgers
        self._sharing = sharing
        self._tails = tails
        self._answers = answers
        self._policy_of = policy_of
        self._subscription: Subscription | None = None
        self._log = logger("recorder")

    async def start(self) -> None:
        """Answer requests until `stop`. Every replica hears each request: none is in a queue group."""
        self._subscription = await self._client.subscribe(names.ERASE_RECORDINGS, cb=self._answer)

    async def stop(self) -> None:
        if self._subscription and not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def _answer(self, message: Msg) -> None:
        try:
            request = msgspec.json.decode(message.data, type=ErasureRequest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            await requests.refuse(self._client, message, Refusal(400, f"this is no request for an erasure: {e}"))
            return
        if not self._sharing.has(request.camera):
            return
        try:
            await message.respond(msgspec.json.encode(await self.erase(request)))
        except Refusal as e:
            await requests.refuse(self._client, message, e)
        except Exception as e:
            self._log.exception("an erasure failed", camera=request.camera)
            await requests.refuse(self._client, message, Refusal(500, repr(e)))

    async def erase(self, request: ErasureRequest) -> Erased:
        """Erase, or count for a dry run. Raises Refusal."""
        camera = request.camera
        if self._policy_of(camera).hold and not request.despite_hold and not request.dry_run:
            raise Refusal(409, f"a hold forbids to erase recordings of {camera}")
        try:
            async with self._ledgers.only(camera):
                return await self._erase(request)
        except Taken as e:
            self._ledgers.forget(camera)
            raise Refusal(503, f"another recorder takes {camera} over: try again") from e
        except (StoreUnavailable, BusError) as e:
            raise Refusal(503, str(e)) from e

    async def _erase(self, request: ErasureRequest) -> Erased:
        camera, until = request.camera, time.monotonic() + PART_S
        objects = await self._library.store.list_objects(camera)
        ledger = await self._ledgers.of(camera)
        if not request.dry_run:
            # Video that is not recorded yet was deleted from MEDIA.
            self._tails.drop(camera)
            self._answers.drop(camera)
        if request.is_whole:
            return await self._all(request, objects, ledger, until)
        return await self._range(request, objects, ledger, until)

    async def _all(
        self, request: ErasureRequest, objects: Sequence[StoredObject], ledger: Ledger, until: float
    ) -> Erased:
        if not request.dry_run and ledger.hour is not None:
            await self._ledgers.store(request.camera, Ledger(last=ledger.last, off=ledger.off))
        # The catalogue goes last: it is rebuilt from the indexes that are left.
        objects = sorted(objects, key=lambda one: (one.key == catalogue_key(request.camera), one.key))
        taken = await self._remove(objects, request, until)
        return Erased(count=len(taken), size=sum(one.size for one in taken), more=len(taken) < len(objects))

    async def _range(
        self, request: ErasureRequest, objects: Sequence[StoredObject], ledger: Ledger, until: float
    ) -> Erased:
        camera, sizes = request.camera, {one.key: one.size for one in objects}
        running = open_hour(camera, ledger)
        indexed = {file.key for file in ledger.files}
        found = [_found(file, sizes) for file in ledger.files if _overlaps(request, file.start, file.end)]
        if found and running and not request.dry_run:
            hour = _without(running, found)
            await self._ledgers.store(camera, replace(ledger, files=hour.files, holes=hour.holes))
        remark, more = "", False
        for at in [one.hour for one in (await self._library.catalogue(camera)).hours]:
            try:
                closed = await self._library.hour(camera, at)
            except Unreadable as e:
                remark = f"{e}: the files of this hour are judged by their names"
                continue
            if closed is None:
                continue
            indexed |= {file.key for file in closed.files}
            part = [_found(file, sizes) for file in closed.files if _overlaps(request, file.start, file.end)]
            found += part
            if part and not request.dry_run:
                await self._rewrite(_without(closed, part))
        strays = [one for one in objects if one.key not in indexed]
        found += [file for one in strays if (file := _stray(one)) and _overlaps(request, file.start, file.end)]
        keys = {file.key for file in found}
        taken = await self._remove([one for one in objects if one.key in keys], request, until)
        # Files that are in no index any more are found by their names next time.
        more = len(taken) < len(keys & sizes.keys())
        return Erased(
            count=len(taken),
            size=sum(one.size for one in taken),
            since=min((file.start for file in found), default=None),
            until=max((file.end for file in found), default=None),
            more=more,
            remark=remark,
        )

    async def _rewrite(self, hour: Hour) -> None:
        """Write the index and the totals of an hour, which has lost files."""
        await self._library.write_hour(hour)
        catalogue = await self._library.catalogue(hour.camera)
        applied = any(one.hour == hour.hour and one.policy_applied for one in catalogue.hours)
        await self._library.write_catalogue(catalogue.having(HourTotals.of(hour, policy_applied=applied)))

    async def _remove(
        self, objects: Sequence[StoredObject], request: ErasureRequest, until: float
    ) -> Sequence[StoredObject]:
        """Remove these objects while there is time, at least one batch; return those that were removed."""
        if request.dry_run:
            return objects
        done = 0
        while done < len(objects) and (not done or time.monotonic() < until):
            await self._library.store.remove([one.key for one in objects[done : done + BATCH]])
            done = min(done + BATCH, len(objects))
            await asyncio.sleep(0)
        if done:
            metrics.REMOVED.labels("erased").inc(done)
            self._log.warning("recordings erased on request", camera=request.camera, files=done)
        return objects[:done]


def _overlaps(request: ErasureRequest, start: dt.datetime, end: dt.datetime) -> bool:
    return (request.until is None or start < request.until) and (request.since is None or end > request.since)


def _found(file: Recorded, sizes: dict[str, int]) -> _Found:
    return _Found(file.key, sizes.get(file.key, 0), file.start, file.end)


def _stray(one: StoredObject) -> _Found | None:
    """Return an unindexed file by the time in its name; None if it has none."""
    match = _FILE.fullmatch(one.key)
    if match is None:
        return None
    start = dt.datetime.strptime(f"{match[1]}/{match[2]}", "%Y-%m-%d/%H/%M%S").replace(tzinfo=dt.UTC)
    return _Found(one.key, one.size, start, start + LONGEST)


def _without(hour: Hour, files: Iterable[_Found]) -> Hour:
    """Return an hour without these files, and with holes in their place."""
    keys = {file.key for file in files}
    removed = [file for file in hour.files if file.key in keys]
    holes = tuple(Hole(since=f.start, until=f.end, cause="policy", segments=f.segments) for f in removed)
    return replace(hour, files=tuple(f for f in hour.files if f.key not in keys), holes=(*hour.holes, *holes))
