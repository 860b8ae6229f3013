"""Which level a segment gets, by how long it has waited: each worker decides by itself, and knows no other. Pure.

    brownout = Brownout(latency_target_s=2.0)
    brownout.level(age_s=0.9, place=place("media.gate", at))        # an index into LEVELS

Workers of one consumer take the oldest segments, so all of them see the same age, and bend alike. Each camera has a
place in the order in which cameras bend: the older the segments, the more of them do, until segments grow no older. So
a camera does not flap between two levels as the age wavers about one threshold. Every minute the places change.
"""

from __future__ import annotations

import hashlib

import msgspec

# So long a camera keeps its place.
TURN_S = 60.0


class BrownoutTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the latency target. docs/adr/0011-elastic-quality.md has what else was tried."""

    begins: tuple[float, ...] = (0.3,)
    """At these ages the first camera gets the levels after the first, one for each. Earlier ones leave frames out for
    nothing, and later ones are too late where a segment takes long."""

    spread: float = 0.2
    """The last camera gets it so much later."""

    high: float = 1.67
    """Ages of cameras with a high priority count for this many times less: the first bends after the last of others."""


TUNING = BrownoutTuning()


def place(camera: str, at: float) -> float:
    """A camera's place among others, 0 to 1, the same for whoever asks. at: a segment's time, in Unix seconds."""
    digest = hashlib.blake2b(f"{camera} {at // TURN_S:.0f}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def choose(age: float, place: float, begins: tuple[float, ...], spread: float) -> int:
    """The level at an age, which is a share of the latency target."""
    level = 0
    for i in range(len(begins)):
        if age >= begins[i] + spread * place:
            level = i + 1
    return level


class Brownout:
    """One for a worker. latency_target_s: from a message's arrival to its result."""

    def __init__(self, latency_target_s: float, tuning: BrownoutTuning = TUNING) -> None:
        self._target_s = latency_target_s
        self._tuning = tuning

    def level(self, age_s: float, *, place: float = 0.5, high: bool = False) -> int:
        """An index into LEVELS. age_s: how long the message has waited. high: of a camera with a high priority."""
        t = self._tuning
        return choose(age_s / self._target_s / (t.high if high else 1.0), place, t.begins, t.spread)
