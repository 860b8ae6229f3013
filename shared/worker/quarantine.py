"""Which message is processed next, and whether it is processed alone. Pure.

A poison message kills its process, as by a decoder's crash, and everything else in flight there loses one of its
deliveries. A message that may have killed workers before is a *suspect*. It waits until no other message is there, and
is then *quarantined*: processed with nothing else in flight.

    quarantine = Quarantine(suspect_from=(3, 5))           # by rank: deliveries from which on a message is a suspect
    turn = quarantine.next(arrived)                        # Turn(which, alone), or None where nothing has arrived
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec


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
    """See the module. suspect_from: for each rank, the delivery from which on a message is a suspect."""

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
