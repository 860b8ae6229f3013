"""All incidents of the last days in memory, newest first. Bounded: the oldest are dropped first. Pure."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from sys import intern
from typing import NamedTuple

import msgspec

from services.console.review.incident_report import IncidentReport, id_of, merge, newest, report_of
from shared.contract.events import Incident, Severity, Verdict, Verification

MOST = 20_000
MOST_BYTES = 64 * 2**20
# Python's memory for an incident, in addition to the bytes of its events: 870 were measured.
_OVERHEAD = 1000
# Verdicts whose incident has not been read yet, or does not exist.
_MOST_EARLY = 1000


class Place(NamedTuple):
    """An incident's sort key: its start in Unix seconds, then its id."""

    start: float
    id: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An incident with the fields that filters use. start, last: Unix seconds; last: its end, or its latest event."""

    id: str
    camera: str
    incident: str
    rule: str
    severity: Severity
    verification: Verification
    start: float
    last: float
    lasts: bool
    report: IncidentReport

    @property
    def place(self) -> Place:
        return Place(self.start, self.id)


Wanted = Callable[[Entry], bool]


class Index:
    """An index of incidents. most, most_bytes: its bounds."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: dict[str, Entry] = {}
        self._order: list[Place] = []
        self._early: dict[str, IncidentReport] = {}
        self._bytes = 0
        self.cameras: Counter[str] = Counter()
        # Whether an incident was dropped: older ones are not worth reading.
        self.is_full = False

    def __len__(self) -> int:
        return len(self._order)

    def get(self, id: str) -> Entry | None:
        return self._entries.get(id)

    def record(self, event: Incident | Verdict) -> None:
        """Record an event of an incident; a repetition changes nothing."""
        id = id_of(event.camera, event.incident)
        entry = self._entries.get(id)
        report = report_of(event)
        before = entry.report if entry else self._early.get(id)
        report = merge(before, report) if before else report
        if entry and report == entry.report:
            return
        about = newest(report)
        if about is None:
            self._early[id] = report
            if len(self._early) > _MOST_EARLY:
                del self._early[next(iter(self._early))]
            return
        self._early.pop(id, None)
        if entry:
            self._remove(entry)
        self._add(_entry(id, about, report))
        while len(self._order) > self._most or self._bytes > self._most_bytes:
            self.is_full = True
            self._remove(self._entries[self._order[0].id])

    def forget(self, before: float) -> None:
        """Drop incidents whose latest event is before a time in Unix seconds: EVENTS has dropped them too."""
        for entry in [e for e in self._entries.values() if e.last < before]:
            self._remove(entry)

    def page(self, wanted: Wanted, *, after: Place | None, limit: int) -> tuple[list[Entry], Place | None]:
        """Return (the newest wanted incidents, where the next page begins). after: the last of the previous page."""
        found = list(itertools.islice(filter(wanted, self._backwards(after)), limit + 1))
        return found[:limit], found[limit - 1].place if len(found) > limit else None

    def all(self, wanted: Wanted) -> Iterator[Entry]:
        """Return the wanted incidents, newest first."""
        return filter(wanted, self._backwards(None))

    def _backwards(self, after: Place | None) -> Iterator[Entry]:
        end = len(self._order) if after is None else bisect.bisect_left(self._order, after)
        return (self._entries[self._order[n].id] for n in range(end - 1, -1, -1))

    def _add(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        bisect.insort(self._order, entry.place)
        self.cameras[entry.camera] += 1
        self._bytes += _size(entry)

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.id]
        del self._order[bisect.bisect_left(self._order, entry.place)]
        self._bytes -= _size(entry)
        self.cameras[entry.camera] -= 1
        if not self.cameras[entry.camera]:
            del self.cameras[entry.camera]


def _size(entry: Entry) -> int:
    return entry.report.size + _OVERHEAD


def _entry(id: str, about: Incident, report: IncidentReport) -> Entry:
    assert report.verified
    return Entry(
        id=id,
        camera=intern(about.camera),
        incident=about.incident,
        rule=intern(about.rule),
        severity=about.severity,
        verification=report.verified.verification,
        start=about.start.timestamp(),
        last=(about.end or about.time).timestamp(),
        lasts=about.end is None,
        report=report,
    )
