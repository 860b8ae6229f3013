"""Which message is worked on next, and whether it is worked on alone. Pure.

A poison message kills the process that works on it, as by a decoder's crash, and everything else that the process has
in hand loses one of its deliveries. So a message that may have killed workers before, a *suspect*, waits until no other
message is there, and is then *quarantined*: worked on with nothing else in hand.

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
    """What is worked on next. which: its index among what has arrived. alone: nothing else may be in hand meanwhile."""

    which: int
    alone: bool


class Quarantine(msgspec.Struct, frozen=True):
    """See the module. suspect_from: for each rank, the delivery from which on a message is a suspect."""

    suspect_from: tuple[int, ...]

    def is_suspect(self, rank: int, deliveries: int) -> bool:
        """Where a suspect has arrived, `next` has to choose."""
        return deliveries >= self.suspect_from[rank]

    def next(self, arrived: Sequence[Arrived]) -> Turn | None:
        """Of what has arrived, in the order of urgency: the first that is no suspect; else a suspect, alone.

        Suspects that one process had when it was killed come again together, the poison message among them. At odd
        deliveries the first by urgency and sequence is chosen, at even ones the last: within two such deliveries each
        of the others is chosen before the poison message, is answered, and is out of its reach.
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

    Where the device is a server, the restarts of that server cost deliveries too: no message is a suspect before half
    of its `max_deliver` deliveries are used.
    """
    return max(at_least, max_deliver // 2) if is_server else at_least
