"""Which level a segment gets, by how long it has waited: each worker decides by itself, and knows no other. Pure.

    brownout = Brownout(latency_target_s=2.0)
    brownout.level(age_s=0.9)                   # an index into LEVELS

Workers of one consumer take the oldest segments, so all of them see the same age, and bend alike. A level begins at a
share of the latency target, and ends at a smaller one: a camera's segments do not flap between two levels.
"""

from __future__ import annotations

import msgspec


class BrownoutTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the latency target."""

    begins: tuple[float, ...] = (0.4,)
    """At these ages the levels after the first begin, one for each. Earlier ones leave frames out for nothing, and
    later ones are too late where a segment takes long."""

    ends: float = 0.6
    """A level ends at this share of the age at which it begins."""

    high: float = 1.75
    """Ages of cameras with a high priority count for this many times less."""


TUNING = BrownoutTuning()


def choose(age: float, before: int, begins: tuple[float, ...], ends: float) -> int:
    """The level at an age, which is a share of the latency target. before: the level until now."""
    level = 0
    for i in range(len(begins)):
        threshold = begins[i] * (ends if i < before else 1.0)
        if age >= threshold:
            level = i + 1
    return level


class Brownout:
    """One for a worker. latency_target_s: from a message's arrival to its result."""

    def __init__(self, latency_target_s: float, tuning: BrownoutTuning = TUNING) -> None:
        self._target_s = latency_target_s
        self._tuning = tuning
        self._levels = {False: 0, True: 0}

    def level(self, age_s: float, *, high: bool = False) -> int:
        """An index into LEVELS. age_s: how long the message has waited. high: of a camera with a high priority."""
        t = self._tuning
        age = age_s / self._target_s / (t.high if high else 1.0)
        self._levels[high] = choose(age, self._levels[high], t.begins, t.ends)
        return self._levels[high]
