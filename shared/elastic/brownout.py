"""The level of a segment, by its age: each worker decides by itself, without knowledge of others. Pure.

    brownout = Brownout(latency_target_s=2.0)
    brownout.level(age_s=0.9, place=place("media.gate", at))        # an index into LEVELS

Workers of one consumer take the oldest segments, so all of them see the same age, and degrade alike. Each camera has a
place in the order of degradation: the older the segments, the more cameras degrade, until the age stops growing. So a
camera does not flap between two levels while the age fluctuates around one threshold. The places change every minute.
"""

from __future__ import annotations

import hashlib

import msgspec

# A camera keeps its place for this long.
TURN_S = 60.0


# The divisor of ages for cameras with a high priority: the first of them degrades after the last of others.
HIGH_PRIORITY_DIVISOR = 1.67


class BrownoutTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the latency target. docs/adr/0011-elastic-quality.md has the alternatives."""

    begins: tuple[float, ...] = (0.3,)
    """The ages at which the first camera gets the second and later levels. Lower ages defer frames for nothing, and
    higher ones are too late for expensive segments."""

    spread: float = 0.2
    """The additional age at which the last camera gets it."""


TUNING = BrownoutTuning()


def place(camera: str, at: float) -> float:
    """Return a camera's place among others, 0 to 1, the same on each worker. at: a segment's time, in Unix seconds."""
    digest = hashlib.blake2b(f"{camera} {at // TURN_S:.0f}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def choose(age: float, place: float, begins: tuple[float, ...], spread: float) -> int:
    """Return the level at an age, which is a share of the latency target."""
    level = 0
    for i in range(len(begins)):
        if age >= begins[i] + spread * place:
            level = i + 1
    return level


class Brownout:
    """One per worker. latency_target_s: from a message's arrival to its result."""

    def __init__(self, latency_target_s: float, tuning: BrownoutTuning = TUNING) -> None:
        self._target_s = latency_target_s
        self._tuning = tuning

    def level(self, age_s: float, *, place: float = 0.5, high: bool = False) -> int:
        """Return an index into LEVELS. age_s: of the message. high: whether its camera has a high priority."""
        t = self._tuning
        return choose(age_s / self._target_s / (HIGH_PRIORITY_DIVISOR if high else 1.0), place, t.begins, t.spread)
