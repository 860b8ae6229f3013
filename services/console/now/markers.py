"""Markers for the series: incidents, cameras that went offline or online, outages, deployments.

Incidents and cameras come from EVENTS. Outages and deployments are those that the console observed itself.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import msgspec
from nats.aio.client import Client

from services.console.links.log_walk import walk
from services.console.now.monitor import SystemMonitor
from services.console.now.series.time_steps import bounds
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import CameraStatus, Incident, decode
from shared.runtime.errors import BadMessage

MOST = 500
# Events read for one answer: an incident has several, and only its first counts.
MOST_READ = 5000
# The retention of events.
LONGEST = dt.timedelta(days=8)
# For an asker with more cameras than this, read the events of all cameras.
FEW = 24

Kind = Literal["incident", "camera", "server", "deployment"]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """time: of the event. kind: incident: a rule matched. camera: one went offline or online. server: the console did
    not reach the server; `until`: when that ended. deployment: a new version or a restart.

    state: of a camera. rule, severity, incident: of an incident. what: the publisher's text.
    """

    time: dt.datetime
    kind: Kind
    camera: str = ""
    service: str = ""
    state: str = ""
    rule: str = ""
    severity: str = ""
    incident: str = ""
    until: dt.datetime | None = None
    what: str = ""


class FoundMarkers(msgspec.Struct, frozen=True, kw_only=True):
    """In order of time. next: the `since` of the next request, if there are more."""

    since: dt.datetime
    until: dt.datetime
    markers: list[Marker]
    next: dt.datetime | None = None


class Markers:
    """See the module. client: needs the right to read EVENTS."""

    def __init__(self, client: Client, monitor: SystemMonitor) -> None:
        self._client = client
        self._monitor = monitor

    async def answer(self, since: str, until: str, cameras: frozenset[str] | None) -> FoundMarkers:
        """Return the markers. cameras: those that the asker may see; None: all. Raises Refused, and as `Log` does."""
        begin, end = bounds(since, until, dt.datetime.now(dt.UTC), LONGEST)
        found = list(self._seen(begin, end))
        # If one subject was read only partially, drop everything after its last event.
        read_to = end
        async with Log(self._client, names.EVENTS) as log:
            for subject in _subjects(cameras):
                read = _Reading(log, subject, begin, end)
                found += [m async for m in read.markers() if cameras is None or m.camera in cameras]
                read_to = min(read_to, read.read_to)
        earliest = heapq.nsmallest(MOST + 1, (m for m in found if m.time < read_to), key=lambda m: m.time)
        if len(earliest) > MOST:
            read_to = earliest[MOST].time
            earliest = [m for m in earliest if m.time < read_to] or earliest[:MOST]
        return FoundMarkers(since=begin, until=end, markers=earliest, next=read_to if read_to < end else None)

    def _seen(self, begin: dt.datetime, end: dt.datetime) -> Iterator[Marker]:
        for outage in self._monitor.outages:
            if begin <= outage.since < end:
                yield Marker(time=outage.since, kind="server", until=outage.until)
        for change in self._monitor.bus.changes:
            if begin <= change.time < end:
                yield Marker(time=change.time, kind="deployment", service=change.service, what=change.what)


class _Reading:
    """Reads the markers of one subject. read_to: the time it has read up to."""

    def __init__(self, log: Log, subject: str, begin: dt.datetime, end: dt.datetime) -> None:
        self._log, self._subject, self._begin, self._end = log, subject, begin, end
        self.read_to = end

    async def markers(self) -> AsyncIterator[Marker]:
        read = 0
        async for stored in walk(self._log, self._subject, self._begin):
            if stored.time >= self._end:
                return
            # The server's start time has whole milliseconds.
            if stored.time >= self._begin and (marker := _marker(stored)):
                yield marker
            if (read := read + 1) >= MOST_READ:
                self.read_to = max(stored.time, self._begin + dt.timedelta(milliseconds=1))
                return


def _subjects(cameras: frozenset[str] | None) -> list[str]:
    """Return the subjects of their events. Few cameras are read one by one, independent of other cameras."""
    kinds = (Incident.kind, CameraStatus.kind)
    if cameras is None or len(cameras) > FEW:
        return [names.event(kind, "*") for kind in kinds]
    return [names.event(kind, camera) for kind in kinds for camera in sorted(cameras)]


def _marker(stored: Stored) -> Marker | None:
    """Return None for an event that is no marker, or that is invalid."""
    try:
        if names.kind_of(stored.subject) == Incident.kind:
            incident = decode(stored.data, Incident, stored.subject)
            if incident.state != "start":
                return None
            return Marker(
                time=stored.time,
                kind="incident",
                camera=incident.camera,
                rule=incident.rule,
                severity=incident.severity,
                incident=incident.incident,
                what=incident.condition,
            )
        status = decode(stored.data, CameraStatus, stored.subject)
    except BadMessage:
        return None
    return Marker(time=stored.time, kind="camera", camera=status.camera, state=status.state, what=status.reason)
