"""Cameras in a fixed number of partitions, of which each process leases its share.

Example:
    number = partition_of("lobby", 64)
    surplus = sorted(owned)[share(leases, 64):]      # to be released first
    await claim_free(leases, 64)                     # about twice a second
"""

from __future__ import annotations

import asyncio
import math
import random
import zlib

from shared.bus.leasing.leases import Leases


def partition_of(camera: str, count: int) -> int:
    """Return the partition of a camera, of `count`."""
    return zlib.crc32(camera.encode()) % count


def share(leases: Leases, count: int) -> int:
    """Return this process's share of `count` partitions."""
    return math.ceil(count / leases.presence.count())


async def claim_free(leases: Leases, count: int) -> None:
    """Claim free partitions of `count`, up to this process's share."""
    free = [str(n) for n in range(count) if leases.is_free(str(n))]
    # Each process claims in its own random order, so that two seldom claim the same partition.
    random.shuffle(free)
    room = max(0, share(leases, count) - len(leases.owned))
    await asyncio.gather(*(leases.claim(n) for n in free[:room]))
