"""The replica time of a segment, learned from earlier segments. Pure.

    costs = CostMeter(threads=2)
    costs.record_decode(DecodeWork(key=2.1, rest=49.8, key_s=0.021, rest_s=0.057))
    costs.record_batch(images=8, seconds=0.05)
    costs.replica_s(key=2.1, rest=49.8, images=5)        # seconds of a replica: 0.039

Threads decode while the device computes, so a segment takes as long as the slower of the two. A keyframe costs more
than another frame of the same size, and it is the minimum cost of any level.
"""

from __future__ import annotations

import math
from typing import NamedTuple

# A measurement decays to 1/e over this many further megapixels, or images: some dozens of segments.
_MEMORY = 2000.0
_MEMORY_IMAGES = 500.0
# The default cost of frames after a keyframe, for a replica that starts in a surge and has decoded none yet. It is that
# of 1080p25 at 4 Mbit/s, where the keyframe took 21 ms and the 24 others 57.
_REST_OF_KEY = 0.11


class DecodeWork(NamedTuple):
    """One decoding: its first frame, and the rest. Megapixels, and seconds of a core; on a device, of a thread."""

    key: float
    rest: float
    key_s: float
    rest_s: float


class _Rate:
    """Seconds per unit, as a mean of about the last `memory` units."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._amount = 0.0
        self._seconds = 0.0

    def add(self, amount: float, seconds: float) -> None:
        fade = math.exp(-amount / self._memory)
        self._amount = self._amount * fade + amount
        self._seconds = self._seconds * fade + seconds

    @property
    def value(self) -> float:
        return self._seconds / self._amount if self._amount > 0 else 0.0


class CostMeter:
    """See the module. threads: that decode in parallel."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._key = _Rate(_MEMORY)
        self._rest = _Rate(_MEMORY)
        self._image = _Rate(_MEMORY_IMAGES)

    def record_decode(self, work: DecodeWork) -> None:
        """Record a decoded segment."""
        if work.rest:
            self._key.add(work.key, work.key_s)
            self._rest.add(work.rest, work.rest_s)
        else:  # the processing of the picture took time too
            self._key.add(work.key, work.key_s + work.rest_s)

    def record_batch(self, images: float, seconds: float) -> None:
        """Record a computed batch."""
        self._image.add(images, seconds)

    @property
    def key_s(self) -> float:
        """Seconds per megapixel of the first decoded frame."""
        return self._key.value

    @property
    def rest_s(self) -> float:
        """Seconds per megapixel of the other frames."""
        return self._rest.value or _REST_OF_KEY * self._key.value

    @property
    def image_s(self) -> float:
        """Seconds per image."""
        return self._image.value

    def replica_s(self, key: float, rest: float, images: float) -> float:
        """Return the replica seconds for these megapixels and images."""
        return max((key * self.key_s + rest * self.rest_s) / self._threads, images * self.image_s)


class RelativeCosts:
    """The cost of an image by its model, as a multiple of the mean one. For `SamplingPlan.images`: without it, a plan
    would count the images of a slow model as cheap.
    """

    def __init__(self) -> None:
        self._mean = _Rate(_MEMORY_IMAGES)
        self._by_model: dict[str, _Rate] = {}

    def record(self, model: str, images: int, seconds: float) -> None:
        """Record a call of a model."""
        if images:
            self._mean.add(images, seconds)
            self._by_model.setdefault(model, _Rate(_MEMORY_IMAGES)).add(images, seconds)

    def of(self, model: str) -> float:
        """Return the cost of its image: 1 for the only model, and for one that has not computed yet."""
        rate, mean = self._by_model.get(model), self._mean.value
        return rate.value / mean if rate and mean else 1.0
