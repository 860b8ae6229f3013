"""Makes timestamps that the muxer accepts: decode times rise strictly, and none is after its presentation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def decode_times(pts: Sequence[int], dts: Sequence[int | None] = ()) -> list[int]:
    """Return decode times of packets in decode order, in ticks: `dts`, if the muxer accepts them, else new ones.

    A stream's first packets often have no dts, or one that steps back; the muxer refuses both. New ones are the
    presentation times, sorted and moved down until none is after its frame's own, as an encoder would do.
    """
    present = [d for d in dts if d is not None]
    complete = len(present) == len(pts) and all(d <= p for d, p in zip(present, pts, strict=True))
    if complete and all(a < b for a, b in pairwise(present)):
        return present
    rising: list[int] = []
    for p in sorted(pts):
        rising.append(p if not rising else max(p, rising[-1] + 1))
    delay = max((d - p for d, p in zip(rising, pts, strict=True)), default=0)
    return [d - delay for d in rising]
