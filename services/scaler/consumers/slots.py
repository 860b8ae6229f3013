"""The time of a reader's next poll. Pure.

Readers of one slot poll in the same iteration of the event loop, so that their requests share a packet and a wakeup.
Readers of different slots poll at different times, so that a call of KEDA waits for one slot at most.
"""

from __future__ import annotations

import math
import random

# The slots of one interval. At 1000 consumers, a slot has 50 of them, some 10 ms of work.
SLOTS = 20


def any_slot() -> int:
    """Return the slot of a new reader."""
    return random.randrange(SLOTS)  # noqa: S311


def next_poll(now: float, slot: int, every_s: float) -> float:
    """Return the next time of `slot`, except one less than half a slot after `now`.

    A poll that comes late does not move the later ones, so that readers stay spread after a stall.
    """
    phase = slot / SLOTS
    # A timer may fire slightly early: a poll belongs to a time from half a slot before it.
    passed = math.floor(now / every_s - phase + 0.5 / SLOTS)
    return (passed + 1 + phase) * every_s
