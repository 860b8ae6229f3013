"""Reads segments, detections, revisions, incidents and alerts into a ledger as they are stored, through all outages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import Quality, SegmentRef
from shared.contract.segment import from_headers
from tidegate.chaos.ledger import Ledger, Piece

_POLL_S = 0.25
_SEGMENTS = names.media(">")
_REVISIONS = names.event(names.revised("detections"), ">")
_TRACKS = names.event("tracks", ">")
_INCIDENTS, _ALERTS = names.event("incidents", ">"), names.event("alerts", ">")


class _Result(msgspec.Struct, frozen=True):
    segment: SegmentRef
    quality: Quality | None = None


class _Revision(msgspec.Struct, frozen=True):
    revises: str


class _Incident(msgspec.Struct, frozen=True):
    incident: str
    state: str


class Follower:
    """`run` until cancelled, or `run_results` for the workers' events alone. kind: of those events.

    media, events: the last sequence read of segments, and of the workers' events.
    """

    def __init__(self, client: Client, ledger: Ledger, kind: str = "detections") -> None:
        self._client = client
        self._results = names.event(kind, ">")
        self.ledger = ledger
        self._read_to: Counter[str] = Counter()

    @property
    def media(self) -> int:
        return self._read_to[_SEGMENTS]

    @property
    def events(self) -> int:
        return self._read_to[self._results]

    async def run(self) -> None:
        await asyncio.gather(
            self._follow(names.MEDIA, _SEGMENTS, self._segment),
            self.run_results(),
            self._follow(names.EVENTS, _REVISIONS, self._revision),
            self._follow(names.EVENTS, _TRACKS, self._tracks),
            self._follow(names.EVENTS, _INCIDENTS, self._incident),
            self._follow(names.EVENTS, _ALERTS, self._alert),
        )

    async def run_results(self) -> None:
        await self._follow(names.EVENTS, self._results, self._result)

    async def _follow(self, stream: str, subjects: str, take: Callable[[Stored], None]) -> None:
        while True:
            try:
                async with Log(self._client, stream) as log:
                    while True:
                        found = await log.read(subjects, self._read_to[subjects] + 1)
                        for stored in found:
                            take(stored)
                            self._read_to[subjects] = stored.seq
                        if not found:
                            await asyncio.sleep(_POLL_S)
            except (TimeoutError, nats.errors.Error):
                await asyncio.sleep(_POLL_S)

    def _segment(self, stored: Stored) -> None:
        s = from_headers(stored.headers)
        start = s.start.timestamp()
        self.ledger.segment(Piece(s.camera, s.epoch, s.n, start, start + s.duration, stored.seq))

    def _result(self, stored: Stored) -> None:
        result = msgspec.json.decode(stored.data, type=_Result)
        self.ledger.event(result.segment.seq)
        if result.quality:
            self.ledger.deferred.add(stored.headers["ce-id"])

    def _revision(self, stored: Stored) -> None:
        self.ledger.revision(msgspec.json.decode(stored.data, type=_Revision).revises)

    def _tracks(self, stored: Stored) -> None:
        self.ledger.followed.add(msgspec.json.decode(stored.data, type=_Result).segment.seq)

    def _incident(self, stored: Stored) -> None:
        event = msgspec.json.decode(stored.data, type=_Incident)
        self.ledger.incident(event.incident, event.state)

    def _alert(self, stored: Stored) -> None:
        self.ledger.alert(msgspec.json.decode(stored.data, type=_Incident).incident)
