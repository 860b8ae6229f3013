"""Cameras in a fixed number of partitions, of which each process leases its share.

number = partition_of("lobby", 64)
surplus = sorted(owned)[share(leases, 64):]      # to be released first
await claim_free(leases, 64)                     # about twice a second
"""

from __future__ import annotations

import asyncio
import math
import random
import zlib

from shared.bus.leases import Leases


def partition_of(camera: str, count: int) -> int:
    """Which of `count` partitions a camera belongs to."""
    return zlib.crc32(camera.encode()) % count


def share(leases: Leases, count: int) -> int:
    """How many of `count` partitions are this process's."""
    return math.ceil(count / leases.processes())


async def claim_free(leases: Leases, count: int) -> None:
    """Claim of `count` partitions what is free, up to this process's share."""
    free = [str(n) for n in range(count) if leases.free(str(n))]
    # Each process asks in an order of its own, so that two seldom ask for the same partition.
    random.shuffle(free)
    room = max(0, share(leases, count) - len(leases.owned))
    await asyncio.gather(*(leases.claim(n) for n in free[:room]))
