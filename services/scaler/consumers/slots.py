"""The time of a reader's next poll. Pure.

Readers of one slot poll in the same iteration of the event loop, so that their requests share a packet and a wakeup.
Few readers share the first slot, which begins at a tick of the clock: an idle server wakes up once for all of them.
Readers of different slots poll at different times, so that a call of KEDA waits for one slot at most.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

# The slots of one interval. At 1000 consumers, a slot has 50 of them, some 10 ms of work.
SLOTS = 20
# The readers of one slot before another one is used.
FULL = 8


def free_slot(taken: Iterable[int]) -> int:
    """Return the slot of a new reader: the first that is not full, or else the emptiest. taken: those of the others."""
    readers = Counter(taken)
    emptiest = min(range(SLOTS), key=readers.__getitem__)
    return next((slot for slot in range(SLOTS) if readers[slot] < FULL), emptiest)


def next_poll(now: float, slot: int, every_s: float) -> float:
    """Return the next time of `slot`, except one less than half a slot after `now`. All are Unix seconds.

    A poll that comes late does not move the later ones, so that readers stay spread after a stall.
    """
    phase = slot / SLOTS
    # A timer may fire slightly early: a poll belongs to a time from half a slot before it.
    passed = math.floor(now / every_s - phase + 0.5 / SLOTS)
    return (passed + 1 + phase) * every_s
