"""What a second pass reads next: events of a camera out of EVENTS, in order, each with the best there is of it.

    reader = SettledReader(settle_s=900)
    page = await reader.next(log, [(position, passes)], end)    # of the camera whose turn it is; None where all wait

Nothing that waits is kept: it is read again from EVENTS. What is known of revisions is where they are.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from services.analytics.reading import Heard, verdict_of
from services.analytics.second_pass.camera import SecondPassCamera
from services.analytics.second_pass.passes import Passes
from services.analytics.second_pass.state import EpisodeState
from services.analytics.second_pass.versions import BestVersion, First, Outcome, best, head, revision_of
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import deadletters, events, names
from shared.contract.events import Detections, DetectionsRevision, Verdict
from shared.runtime.errors import BadMessage

# Live analytics waits meanwhile: events are read in pages of so many, revisions in so many batches of so many, and so
# many cameras are looked at until one has something to read.
PAGE, BATCHES, BATCH, TRIES = 8, 8, 64, 4
# A pass that waits looks again after this long.
AGAIN_S = 1.0
# The server that answers may learn of a message after it was stored.
SLACK_S = 10.0
# A revision comes that long before its event at most: where a worker died between the two, another says the event.
BEFORE_S = 300.0
# After this long what was read live, and can't be read again, is gone.
GONE_S = 600.0
# Where more revisions than this are known, they are looked for anew: some are of events that nobody asks about.
MOST_KNOWN = 20_000


class Page(NamedTuple):
    """What a camera's first pass reads next, and the sequence that comes after it. until: when that is known to be all
    that was stored until then, by the log's clock; 0 where it is not. over: whether that is all of the pass.
    """

    passes: Passes
    camera: str
    read: list[BestVersion | Heard]
    next: int
    until: float
    over: bool


class _Place(NamedTuple):
    """Where a revision is in EVENTS, and when it was stored."""

    seq: int
    at: float


class _Revisions:
    """Where the revisions of a camera's events are, by the `ce-id` of what they revise; of several the first counts."""

    def __init__(self, of: SecondPassCamera, camera: str) -> None:
        self.of = of
        self._subject = names.event(DetectionsRevision.kind, camera)
        self._known: dict[str, _Place] = {}
        self._next: int | None = None

    async def of_event(self, log: Log, first: First) -> tuple[_Place | None, bool]:
        """Where an event's revision is, if it is known; and whether all are known that there are."""
        if len(self._known) > MOST_KNOWN:
            self._known, self._next = {}, None
        for _ in range(BATCHES):
            if place := self._known.get(first.id):
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
                    self._known.setdefault(about.revises, _Place(stored.seq, stored.time.timestamp()))
        return self._known.get(first.id), False

    async def read(self, log: Log, place: _Place) -> Stored | None:
        found = await log.read(self._subject, place.seq, most=1)
        return found[0] if found and found[0].seq == place.seq else None


class SecondPassReader:
    """See the module. settle_s: how long a revision is waited for. clock: seconds that go on evenly."""

    def __init__(self, settle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._settle_s = settle_s
        self._clock = clock
        self._revisions: dict[str, _Revisions] = {}
        self._not_before: dict[str, float] = {}  # monotonic seconds, by camera

    async def next(self, log: Log, partitions: Iterable[tuple[int, Passes]], end: float) -> Page | None:
        """What is to be read of the camera that waited longest.

        partitions: of each the sequence in EVENTS up to which live analytics has read, and its passes. end: until then
        all of EVENTS is known, Unix seconds.

        Raises nats.errors.Error or TimeoutError if the server does not answer.
        """
        waiting = [(n, p, c) for n, p in partitions for c in p if (settled := p.of(c)) and settled.place]
        cameras = {camera for _, _, camera in waiting}
        self._revisions = {c: r for c, r in self._revisions.items() if c in cameras}
        self._not_before = {c: t for c, t in self._not_before.items() if c in cameras}
        now = self._clock()
        for position, passes, camera in sorted(waiting, key=lambda w: self._not_before.get(w[2], 0.0))[:TRIES]:
            if self._not_before.get(camera, 0.0) > now:
                return None
            settled = passes.of(camera)
            assert settled and settled.place
            page = await self._page(log, position, passes, settled, settled.place, end)
            goes_on = page.over or page.next > settled.place.next
            self._not_before[camera] = now if goes_on else now + AGAIN_S
            if goes_on or settled.is_due(page.until):
                return page
        return None

    async def _page(
        self, log: Log, position: int, passes: Passes, settled: SecondPassCamera, place: EpisodeState, end: float
    ) -> Page:
        """As much as is known to be as good as it gets."""
        camera = settled.name
        known = self._revisions.get(camera)
        if known is None or known.of is not settled:
            known = self._revisions[camera] = _Revisions(settled, camera)
        # More frames that are left out only move the end.
        until = settled.ends_at()
        closed = end > until + SLACK_S
        found = await log.read(names.event(Detections.kind, camera), place.next, most=PAGE)
        read: list[BestVersion] = []
        # What live analytics has read of this pass comes first, whatever is shown by a server that lags behind.
        next, all_read = place.next, not found and (place.next > place.newest or end > until + GONE_S)
        over = closed and all_read
        for stored in found:
            at = stored.time.timestamp()
            if stored.seq >= position or at > until:
                over = closed and at > until and stored.seq > place.newest
                break
            if first := _first(stored):
                better = await self._better(log, known, first, end)
                if better is None:
                    break
                read.append(better)
            next = stored.seq + 1
        verdicts = await self._verdicts(log, camera, place.verdicts, next) if settled.asks else []
        ready: list[BestVersion | Heard] = [*read, *verdicts]
        ready.sort(key=_seq)
        return Page(passes, camera, ready, next, min(end, until) if all_read else 0.0, over)

    async def _better(self, log: Log, known: _Revisions, first: First, end: float) -> BestVersion | None:
        """The best version of an event; None while it may get better."""
        if first.event.quality is None:
            return BestVersion(first, first.event, "whole")
        place, all_known = await known.of_event(log, first)
        if place is None and not (all_known and end > first.at + self._settle_s + SLACK_S):
            return None
        if place is None or place.at > first.at + self._settle_s:
            return BestVersion(first, first.event, "overdue")
        stored = await known.read(log, place)
        revision = revision_of(stored, first) if stored else None
        outcome: Outcome = "revised" if revision and not revision.lost else "lost"
        return BestVersion(first, best(first.event, revision), outcome)

    async def _verdicts(self, log: Log, camera: str, begin: int, before: int) -> list[Heard]:
        """What models said between two sequences."""
        said: list[Heard] = []
        while begin < before and (found := await log.read(names.event(Verdict.kind, camera), begin)):
            said += [heard for stored in found if stored.seq < before and (heard := verdict_of(stored))]
            begin = found[-1].seq + 1
        return said


def _seq(read: BestVersion | Heard) -> int:
    return read.first.seq if isinstance(read, BestVersion) else read.seq


def _first(stored: Stored) -> First | None:
    """An event as it came; None where live analytics has passed it over."""
    if deadletters.REPLAY_FOR in stored.headers:
        return None
    try:
        event = events.decode(stored.data, Detections, stored.subject)
    except BadMessage:
        return None
    return First(stored.seq, stored.headers.get("ce-id", ""), stored.time.timestamp(), event)
