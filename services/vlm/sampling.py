"""Which frames a model is shown: evenly spread, each in the middle of its share of the time. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence


def instants(start: dt.datetime, end: dt.datetime, count: int) -> list[dt.datetime]:
    """`count` times in [start, end), ascending."""
    return [start + (end - start) * ((2 * i + 1) / (2 * count)) for i in range(count)]


def evenly(items: Sequence[int], count: int) -> list[int]:
    """`count` of `items`, or all if there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def offsets(durations: Sequence[float], count: int) -> list[list[float]]:
    """For consecutive stretches, the offsets in seconds of the frames that each gives, of `count` frames in all.

    A stretch that gives one frame gives its first: mostly a keyframe, which is by far the cheapest to decode.
    """
    total = sum(durations)
    found: list[list[float]] = []
    begin = 0.0
    for n, duration in enumerate(durations):
        share = [(2 * i + 1) / (2 * count) * total for i in range(count)]
        last = n == len(durations) - 1
        inside = [t - begin for t in share if begin <= t and (t < begin + duration or last)]
        found.append([0.0] if len(inside) == 1 else inside)
        begin += duration
    return found
