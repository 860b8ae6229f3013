"""Read the next events of a second pass from EVENTS, in order, each with its best version.

    reader = SecondPassReader(settle_s=900)
    page = await reader.next(log, [(position, passes)], end)    # of the camera that waited longest; None if all wait
    work = await reader.next_work(log, partitions, end)         # the same, as the service takes it

No waiting event is cached: it is read again from EVENTS. Only the positions of revisions are cached.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from services.analytics import metrics
from services.analytics.loop import Work
from services.analytics.partitions.partition import Partition
from services.analytics.partitions.publisher import CameraOuts
from services.analytics.partitions.reading import StoredVerdict, verdict_of
from services.analytics.second_pass.passes import Page, Passes, SecondPassCamera
from services.analytics.second_pass.state import EpisodeState
from services.analytics.second_pass.versions import BestVersion, First, Outcome, best, head, revision_of
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import deadletters, events, names
from shared.contract.events import Detections, DetectionsRevision, Verdict
from shared.runtime.errors import BadMessage

# Live analytics waits meanwhile. PAGE: events in a page. BATCHES, BATCH: number and size of the batches of revisions.
# TRIES: cameras to try until one has something to read.
PAGE, BATCHES, BATCH, TRIES = 8, 8, 64, 4
# A waiting pass retries after this long.
RETRY_S = 1.0
# The answering server may learn of a message after it was stored.
SLACK_S = 10.0
# A revision comes at most this long before its event: a worker died between the two, and another published the event.
BEFORE_S = 300.0
# After this long, events that were read live and can't be read again are removed.
MISSING_S = 600.0
# If more positions of revisions than this are cached, the search restarts: some are of events that are never needed.
MOST_PLACES = 20_000


class _Place(NamedTuple):
    """The position of a revision in EVENTS, and when it was stored."""

    seq: int
    at: float


class _Revisions:
    """Positions of the revisions of a camera's events, by the `ce-id` of what they revise; the first of several
    counts.
    """

    def __init__(self, of: SecondPassCamera, camera: str) -> None:
        self.of = of
        self._subject = names.event(DetectionsRevision.kind, camera)
        self._places: dict[str, _Place] = {}
        self._next: int | None = None

    async def of_event(self, log: Log, first: First) -> tuple[_Place | None, bool]:
        """Return the position of an event's revision, if known; and whether all existing revisions are known."""
        if len(self._places) > MOST_PLACES:
            self._places, self._next = {}, None
        for _ in range(BATCHES):
            if place := self._places.get(first.id):
                return place, False
            if self._next is None:
                before = dt.datetime.fromtimestamp(first.at - BEFORE_S, dt.UTC)
                found = await log.since(self._subject, before, most=BATCH)
                self._next = first.seq
            else:
                found = await log.read(self._subject, self._next, most=BATCH)
            if not found:
                return None, True
            self._next = found[-1].seq + 1
            for stored in found:
                if about := head(stored):
                    self._places.setdefault(about.revises, _Place(stored.seq, stored.time.timestamp()))
        return self._places.get(first.id), False

    async def read(self, log: Log, place: _Place) -> Stored | None:
        found = await log.read(self._subject, place.seq, most=1)
        return found[0] if found and found[0].seq == place.seq else None


class SecondPassReader:
    """See the module. settle_s: time to wait for a revision. clock: monotonic seconds."""

    def __init__(self, settle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._settle_s = settle_s
        self._clock = clock
        self._revisions: dict[str, _Revisions] = {}
        self._not_before: dict[str, float] = {}  # monotonic seconds, by camera

    async def next_work(self, log: Log, partitions: Iterable[Partition], end: float) -> Work | None:
        """Return the work on the next page; see `Background`."""
        passes = [(p.position, p.extension) for p in partitions if isinstance(p.extension, Passes)]
        metrics.WAITING.set(sum(camera.waiting() for _, p in passes for camera in p.by_camera.values()))
        found = await self.next(log, passes, end)
        if found is None:
            return None
        owner, page = found
        return lambda: CameraOuts(page.camera, owner.advance_camera(page, end))

    async def next(self, log: Log, partitions: Iterable[tuple[int, Passes]], end: float) -> tuple[Passes, Page] | None:
        """Return the next page of the camera that waited longest, and the passes that it is of.

        partitions: for each, the sequence in EVENTS up to which live analytics has read, and its passes. end: all of
        EVENTS is known until then, Unix seconds.

        Raises nats.errors.Error or TimeoutError if the server does not answer.
        """
        waiting = [(n, p, c) for n, p in partitions for c, second_pass in p.by_camera.items() if second_pass.place]
        cameras = {camera for _, _, camera in waiting}
        self._revisions = {c: r for c, r in self._revisions.items() if c in cameras}
        self._not_before = {c: t for c, t in self._not_before.items() if c in cameras}
        now = self._clock()
        for position, passes, camera in sorted(waiting, key=lambda w: self._not_before.get(w[2], 0.0))[:TRIES]:
            if self._not_before.get(camera, 0.0) > now:
                return None
            second_pass = passes.by_camera[camera]
            assert second_pass.place
            page = await self._page(log, position, second_pass, second_pass.place, end)
            has_progress = page.over or page.next > second_pass.place.next
            self._not_before[camera] = now if has_progress else now + RETRY_S
            if has_progress or second_pass.is_due(page.until):
                return passes, page
        return None

    async def _page(
        self, log: Log, position: int, second_pass: SecondPassCamera, place: EpisodeState, end: float
    ) -> Page:
        """Return the events whose best version is known."""
        camera = second_pass.name
        revisions = self._revisions.get(camera)
        if revisions is None or revisions.of is not second_pass:
            revisions = self._revisions[camera] = _Revisions(second_pass, camera)
        # More deferred frames only move the end.
        until = place.ends_at()
        closed = end > until + SLACK_S
        found = await log.read(names.event(Detections.kind, camera), place.next, most=PAGE)
        read: list[BestVersion] = []
        # Events of this pass that live analytics has read come first, even if a lagging server does not show them.
        next, all_read = place.next, not found and (place.next > place.newest or end > until + MISSING_S)
        over = closed and all_read
        for stored in found:
            at = stored.time.timestamp()
            if stored.seq >= position or at > until:
                over = closed and at > until and stored.seq > place.newest
                break
            if first := _first(stored):
                better = await self._better(log, revisions, first, end)
                if better is None:
                    break
                read.append(better)
            next = stored.seq + 1
        verdicts = await self._verdicts(log, camera, place.verdicts, next) if place.needs_verdicts() else []
        ready: list[BestVersion | StoredVerdict] = [*read, *verdicts]
        ready.sort(key=_seq)
        return Page(camera, ready, next, min(end, until) if all_read else 0.0, over)

    async def _better(self, log: Log, revisions: _Revisions, first: First, end: float) -> BestVersion | None:
        """Return the best version of an event; None while it may get better."""
        if first.event.quality is None:
            return BestVersion(first, first.event, "whole")
        place, is_complete = await revisions.of_event(log, first)
        if place is None and not (is_complete and end > first.at + self._settle_s + SLACK_S):
            return None
        if place is None or place.at > first.at + self._settle_s:
            return BestVersion(first, first.event, "overdue")
        stored = await revisions.read(log, place)
        revision = revision_of(stored, first) if stored else None
        outcome: Outcome = "revised" if revision and not revision.lost else "lost"
        return BestVersion(first, best(first.event, revision), outcome)

    async def _verdicts(self, log: Log, camera: str, begin: int, before: int) -> list[StoredVerdict]:
        """Return the verdicts between two sequences."""
        verdicts: list[StoredVerdict] = []
        while begin < before and (found := await log.read(names.event(Verdict.kind, camera), begin)):
            verdicts += [verdict for stored in found if stored.seq < before and (verdict := verdict_of(stored))]
            begin = found[-1].seq + 1
        return verdicts


def _seq(read: BestVersion | StoredVerdict) -> int:
    return read.first.seq if isinstance(read, BestVersion) else read.seq


def _first(stored: Stored) -> First | None:
    """Return an event as it came; None if live analytics skipped it."""
    if deadletters.REPLAY_FOR in stored.headers:
        return None
    try:
        event = events.decode(stored.data, Detections, stored.subject)
    except BadMessage:
        return None
    return First(stored.seq, stored.headers.get("ce-id", ""), stored.time.timestamp(), event)
