"""All incidents of the last days in memory, newest first, within bounds: the oldest go first. Pure.

index.tell(event)
index.get(id)
entries, more = index.page(wanted, after=None, limit=50)
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from sys import intern
from typing import NamedTuple

import msgspec

from services.console.review.together import IncidentReport, id_of, joined, newest, told_by
from shared.contract.events import Incident, Severity, Verdict, Verification

MOST = 20_000
MOST_BYTES = 64 * 2**20
# What Python takes for an incident, beside the bytes that were said of it: 870 were measured.
_OVERHEAD = 1000
# Verdicts whose incident was not read yet, or that are about none.
_MOST_EARLY = 1000


class Place(NamedTuple):
    """Where an incident is in the order of all: by its start in Unix seconds, and its id where two began at once."""

    start: float
    id: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An incident, as far as filters look at it. start, last: Unix seconds; last: its end, or when it was last told."""

    id: str
    camera: str
    incident: str
    rule: str
    severity: Severity
    verification: Verification
    start: float
    last: float
    lasts: bool
    told: IncidentReport

    @property
    def place(self) -> Place:
        return Place(self.start, self.id)


Wanted = Callable[[Entry], bool]


class Index:
    """See the module. most, most_bytes: bounds of what it keeps."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: dict[str, Entry] = {}
        self._order: list[Place] = []
        self._early: dict[str, IncidentReport] = {}
        self._bytes = 0
        self.cameras: Counter[str] = Counter()
        # Whether something had to go: what is older is not worth reading.
        self.is_full = False

    def __len__(self) -> int:
        return len(self._order)

    def get(self, id: str) -> Entry | None:
        return self._entries.get(id)

    def tell(self, event: Incident | Verdict) -> None:
        """Something is said of an incident, maybe not for the first time."""
        id = id_of(event.camera, event.incident)
        known = self._entries.get(id)
        told = told_by(event)
        before = known.told if known else self._early.get(id)
        told = joined(before, told) if before else told
        if known and told == known.told:
            return
        about = newest(told)
        if about is None:
            self._early[id] = told
            if len(self._early) > _MOST_EARLY:
                del self._early[next(iter(self._early))]
            return
        self._early.pop(id, None)
        if known:
            self._remove(known)
        self._add(_entry(id, about, told))
        while len(self._order) > self._most or self._bytes > self._most_bytes:
            self.is_full = True
            self._remove(self._entries[self._order[0].id])

    def forget(self, before: float) -> None:
        """Those that were last told of before a time, in Unix seconds: EVENTS has them no more."""
        for entry in [e for e in self._entries.values() if e.last < before]:
            self._remove(entry)

    def page(self, wanted: Wanted, *, after: Place | None, limit: int) -> tuple[list[Entry], Place | None]:
        """(the newest that are wanted, where the next page begins). after: the last that the page before had."""
        found = list(itertools.islice(filter(wanted, self._backwards(after)), limit + 1))
        return found[:limit], found[limit - 1].place if len(found) > limit else None

    def all(self, wanted: Wanted) -> Iterator[Entry]:
        """Those that are wanted, newest first."""
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
    return entry.told.size + _OVERHEAD


def _entry(id: str, about: Incident, told: IncidentReport) -> Entry:
    assert told.verified
    return Entry(
        id=id,
        camera=intern(about.camera),
        incident=about.incident,
        rule=intern(about.rule),
        severity=about.severity,
        verification=told.verified[2],
        start=about.start.timestamp(),
        last=(about.end or about.time).timestamp(),
        lasts=about.end is None,
        told=told,
    )
