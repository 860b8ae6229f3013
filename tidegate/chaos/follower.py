"""Reads MEDIA and EVENTS into a ledger as they grow, through all outages."""

from __future__ import annotations

import asyncio

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import SegmentRef
from shared.contract.segment import from_headers
from tidegate.chaos.ledger import Ledger, Piece

_POLL_S = 0.25


class _Result(msgspec.Struct, frozen=True):
    segment: SegmentRef


class Follower:
    """`run` until cancelled. media, events: the sequence up to which each is read."""

    def __init__(self, client: Client, ledger: Ledger) -> None:
        self.media = self.events = 0
        self._client = client
        self._ledger = ledger

    async def run(self) -> None:
        await asyncio.gather(self._follow(names.MEDIA), self._follow(names.EVENTS))

    async def _follow(self, stream: str) -> None:
        read = self._read_media if stream == names.MEDIA else self._read_events
        while True:
            try:
                async with Log(self._client, stream) as log:
                    while True:
                        if not await read(log):
                            await asyncio.sleep(_POLL_S)
            except (TimeoutError, nats.errors.Error):
                await asyncio.sleep(_POLL_S)

    async def _read_media(self, log: Log) -> bool:
        found = await log.read(names.media(">"), self.media + 1)
        for stored in found:
            s = from_headers(stored.headers)
            start = s.start.timestamp()
            self._ledger.segment(Piece(s.camera, s.epoch, s.n, start, start + s.duration, stored.seq))
            self.media = stored.seq
        return bool(found)

    async def _read_events(self, log: Log) -> bool:
        found = await log.read("events.detections.>", self.events + 1)
        for stored in found:
            self._ledger.event(msgspec.json.decode(stored.data, type=_Result).segment.seq)
            self.events = stored.seq
        return bool(found)
