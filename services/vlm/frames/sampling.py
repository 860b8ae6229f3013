"""The choice of a model's frames: evenly spread, each in the middle of its share of the time. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Protocol, TypeVar

_SECOND = dt.timedelta(seconds=1)


class Shot(Protocol):
    """Video that can be decoded independently."""

    @property
    def start(self) -> dt.datetime: ...
    @property
    def until(self) -> dt.datetime: ...


S = TypeVar("S", bound=Shot)


def instants(start: dt.datetime, end: dt.datetime, count: int) -> list[dt.datetime]:
    """Return `count` times in [start, end), ascending."""
    return [start + (end - start) * ((2 * i + 1) / (2 * count)) for i in range(count)]


def evenly(items: Sequence[int], count: int) -> list[int]:
    """Return `count` of `items`, or all if there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def offsets(durations: Sequence[float], count: int) -> list[list[float]]:
    """Return, for consecutive stretches, the offsets in seconds of each one's frames, of `count` frames in all.

    A stretch with one frame has its first: usually a keyframe, which is by far the cheapest to decode.
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


def shown(
    shots: Sequence[S], start: dt.datetime, end: dt.datetime, count: int, also: Sequence[dt.datetime] = ()
) -> list[tuple[S, list[float]]]:
    """Return the shots with up to `count` instants of [start, end), and the seconds of each in its shot: those at
    `also`, and the rest spread evenly over the time with video. shots: all that show any of it, in order.
    """
    if not shots:
        return []
    begin, end = max(start, shots[0].start), min(end, shots[-1].until)
    return at(shots, sorted({*also[:count], *instants(begin, end, count - len(also[:count]))}))


def at(shots: Sequence[S], wanted: Sequence[dt.datetime]) -> list[tuple[S, list[float]]]:
    """Return the shots at these times, or else the first ones after them, with the seconds of each in its shot.

    shots, wanted: in order.
    """
    found: list[tuple[S, list[float]]] = []
    n = 0
    for instant in wanted:
        while n < len(shots) and shots[n].until <= instant:
            n += 1
        if n == len(shots):
            break
        if not found or found[-1][0] is not shots[n]:
            found.append((shots[n], []))
        found[-1][1].append(max(0.0, (instant - shots[n].start) / _SECOND))
    return found
