"""Makes timestamps that the muxer takes: decode times rise strictly, and none is after its presentation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def decode_times(pts: Sequence[int], dts: Sequence[int | None] = ()) -> list[int]:
    """Decode times of packets in decode order, in ticks: those given, where the muxer takes them, else new ones.

    A stream's first packets often have no dts, or one that steps back; the muxer refuses both. New ones are the
    presentation times, sorted and moved down until none is after its frame's own: an encoder would give the same.
    """
    given = [d for d in dts if d is not None]
    complete = len(given) == len(pts) and all(d <= p for d, p in zip(given, pts, strict=True))
    if complete and all(a < b for a, b in pairwise(given)):
        return given
    rising: list[int] = []
    for p in sorted(pts):
        rising.append(p if not rising else max(p, rising[-1] + 1))
    delay = max((d - p for d, p in zip(rising, pts, strict=True)), default=0)
    return [d - delay for d in rising]
