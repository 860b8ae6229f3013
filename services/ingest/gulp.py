"""Reading a live camera in gulps: half the CPU for a few hundredths of a second.

RTP over TCP comes in some 400 writes a second, and a reader that has caught up is woken for each: that, and not the
copying, is what a camera costs. So one that has caught up naps, and finds the next frames whole. Measured with 1080p25
of 4 Mbit/s, demuxing alone: 1.58 % of a core a camera without, 0.77 with naps of 0.1 s, 0.62 with 0.2. `bench_ingest`
has the whole of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

# Adds half of it to a segment's latency, on average.
NAP_S = 0.15
# What may gather meanwhile: under the least that a kernel buffers for a connection, so the camera is never held up.
NAP_BYTES = 64 * 1024
# A read that took longer than this waited for the network.
_WAITED_S = 0.002

T = TypeVar("T")


def gulps(
    packets: Iterator[T],
    size: Callable[[T], int],
    nap: Callable[[float], object],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """`packets`, with a `nap` after each that had to be waited for. size: of a packet, in bytes.

    The packet that ends a wait is passed on before the nap, at its true time of arrival: the camera's clock is read
    from those.
    """
    since, gathered = clock(), 0
    while True:
        asked = clock()
        packet = next(packets, None)
        if packet is None:
            return
        arrived = clock()
        gathered += size(packet)
        yield packet
        if arrived - asked > _WAITED_S:
            nap(min(NAP_S, NAP_BYTES * (arrived - since) / gathered))
            since, gathered = arrived, 0
