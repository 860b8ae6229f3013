"""Which message is processed next, and whether it is processed alone.

A poison message kills its process, as by a decoder's crash, and everything else in flight there loses one of its
deliveries. A message that may have killed workers before is a *suspect*. It waits until no other message is there, and
is then *quarantined*: processed with nothing else in flight.

    quarantine = Quarantine(suspect_from=(3, 5))           # by rank: deliveries from which on a message is a suspect
    turn = quarantine.next(arrived)                        # Turn(which, alone), or None where nothing has arrived
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from nats.aio.msg import Msg

from shared.worker.extension import Intake
from shared.worker.in_flight import Source
from shared.worker.loop import Loop
from shared.worker.service import P, R


class Arrived(NamedTuple):
    """A message that has arrived. rank: of its consumer, 0 the most urgent. seq: in its stream."""

    rank: int
    seq: int
    deliveries: int


class Turn(NamedTuple):
    """The next message. which: its index among the arrived ones. alone: nothing else may be in flight meanwhile."""

    which: int
    alone: bool


class Quarantine(msgspec.Struct, frozen=True):
    """Pure. suspect_from: for each rank, the delivery from which on a message is a suspect."""

    suspect_from: tuple[int, ...]

    def is_suspect(self, rank: int, deliveries: int) -> bool:
        """If a suspect has arrived, `next` has to choose."""
        return deliveries >= self.suspect_from[rank]

    def next(self, arrived: Sequence[Arrived]) -> Turn | None:
        """Return the first of the arrived messages, by urgency, that is no suspect; else a suspect, alone.

        The suspects of a killed process come again together, the poison message among them. At odd deliveries the first
        by urgency and sequence is chosen, at even ones the last. So within two such deliveries each of the others is
        chosen, and answered, before the poison message.
        """
        for index, message in enumerate(arrived):
            if not self.is_suspect(message.rank, message.deliveries):
                return Turn(index, alone=False)
        if not arrived:
            return None
        deliveries = max(message.deliveries for message in arrived)
        choose = min if deliveries % 2 else max
        return Turn(choose(range(len(arrived)), key=lambda i: (arrived[i].rank, arrived[i].seq)), alone=True)


def suspect_from(max_deliver: int, *, at_least: int, is_server: bool) -> int:
    """The delivery from which on a message of a consumer is a suspect.

    If the device is a server, its restarts cost deliveries too: no message is a suspect before half of its
    `max_deliver` deliveries are used.
    """
    return max(at_least, max_deliver // 2) if is_server else at_least


class QuarantineIntake(Intake):
    """Takes the messages as `Quarantine` chooses them."""

    def __init__(self, loop: Loop[P, R]) -> None:
        self._in_flight = loop.in_flight
        self._receive, self._prepare = loop.receive, loop.prepare
        self._is_server = loop.device.is_server
        self._tuning = loop.tuning
        self._sources: Sequence[Source] = ()
        self._quarantine = Quarantine(())

    def open(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        at_least, is_server = self._tuning.suspect_deliveries, self._is_server
        self._quarantine = Quarantine(
            tuple(suspect_from(s.max_deliver, at_least=at_least, is_server=is_server) for s in sources)
        )

    async def next(self, source: Source) -> tuple[Source, Msg] | None:
        """Return the oldest message of `source` or, as soon as a suspect has arrived, the quarantine's choice."""
        is_suspect = self._quarantine.is_suspect
        if not any(is_suspect(s.rank, raw.metadata.num_delivered) for s in self._sources for raw in s.arrived):
            return await super().next(source)
        # A poison message that kills this process costs every unanswered message one of its deliveries.
        await asyncio.gather(*(s.puller.pause() for s in self._sources))
        arrived = [(s, raw) for s in self._sources for raw in s.arrived]
        turn = self._quarantine.next(
            [Arrived(s.rank, raw.metadata.sequence.stream, raw.metadata.num_delivered) for s, raw in arrived]
        )
        if turn is None:  # a drain took them
            return None
        chosen, raw = arrived[turn.which]
        if not turn.alone:
            return chosen, chosen.puller.take(raw)
        await self._process_alone(chosen, raw)
        await asyncio.gather(*(s.puller.resume() for s in self._sources))
        if len(arrived) > 1:
            await asyncio.sleep(self._tuning.between_suspects_s)
        return None

    async def _process_alone(self, source: Source, raw: Msg) -> None:
        """Process it once nothing is in flight, and return once it is answered."""
        await self._in_flight.until_empty()
        if raw not in source.arrived:  # a drain took it
            return
        if message := self._receive(source, source.puller.take(raw)):
            await self._prepare(message)
            await self._in_flight.until_empty()
