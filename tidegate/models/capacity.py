"""From measured rates to a batch, threads, cameras for one replica, and their cost. Pure.

Example:
    batch = choose_batch({1: 20.0, 4: 31.0, 8: 31.5}, lambda size: in_time(size, 6.0, 2.0))      # 4
    cameras(6.2, 1.0, LOAD)                                                                      # 4
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from services.scaler.demand.parameters import LAG_SHARE

# A replica is planned for this share of its rate; the rest absorbs backlogs and busier minutes.
LOAD = 0.7
# The batch is the smallest whose rate is this share of the best: larger ones hold more segments and answer later.
NEAR = 0.95
# Decoding must exceed the model's rate by this factor, to keep up under other load.
AHEAD = 1.1


def thread_counts(cores: int) -> list[int]:
    """Return the powers of two up to `cores`, and `cores`."""
    powers = [1 << n for n in range(cores.bit_length())]
    return sorted({n for n in powers if n <= cores} | {cores})


def fewest(rates: Mapping[int, float]) -> int:
    """Return the smallest key whose rate is nearly the best: of batches by size, or of threads by count."""
    best = max(rates.values())
    return min(key for key, rate in rates.items() if rate >= NEAR * best)


def choose_batch(images_s: Mapping[int, float], fits: Callable[[int], bool]) -> int:
    """Return the smallest batch that is nearly as fast as the fastest that fits; if none fits, the smallest.

    images_s: by batch size.
    """
    return fewest({size: rate for size, rate in images_s.items() if fits(size)} or {min(images_s): 1.0})


def in_time(hold: int, segments_s: float, latency_s: float) -> bool:
    """Return whether a worker with `hold` segments answers the last one in time, with the threshold's reserve."""
    return hold + 1 <= math.floor(segments_s * latency_s * LAG_SHARE)


def choose_threads(segments_s: Mapping[int, float], wanted: float) -> int:
    """Return the fewest threads that decode AHEAD of `wanted` segments a second; else the fewest near the best."""
    enough = [threads for threads, rate in segments_s.items() if rate >= AHEAD * wanted]
    return min(enough) if enough else fewest(segments_s)


def cameras(segments_s: float, segment_seconds: float, load: float = 1.0) -> int:
    """Return the cameras for one replica; each sends a segment every `segment_seconds`. load: share of its rate."""
    return math.floor(segments_s * segment_seconds * load + 1e-9)


def camera_day(price: float, segments_s: float, segment_seconds: float) -> float:
    """Return the cost of a camera and day on replicas at LOAD. price: of a replica-hour."""
    return 24 * price / (segments_s * segment_seconds * LOAD)


def rounded(rate: float) -> str:
    """Return the rate rounded down to three digits, without an exponent: thresholds follow from the annotation."""
    places = max(0, 2 - math.floor(math.log10(rate)))
    step = 10.0 ** (2 - math.floor(math.log10(rate)))
    return f"{math.floor(rate * step + 1e-9) / step:.{places}f}"
