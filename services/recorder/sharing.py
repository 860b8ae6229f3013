"""Decides which cameras this process records: those of the partitions that it has leased."""

from __future__ import annotations

import asyncio

from shared.bus.leasing import partitions
from shared.bus.leasing.leases import Leases

# Partitions for replicas to share. A version may change the number, as a ledger belongs to a camera alone.
PARTITIONS = 64


class Sharing:
    """`await share()` about twice a second; `has("lobby")` at any time."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def has(self, camera: str) -> bool:
        """Whether the lease of its partition holds now."""
        return self._leases.holds(str(partitions.partition_of(camera, PARTITIONS)))

    async def share(self) -> None:
        """Release partitions over this process's share, and claim free ones up to it."""
        leases = self._leases
        leases.take_lost()
        surplus = sorted(leases.owned, key=int)[partitions.share(leases, PARTITIONS) :]
        await asyncio.gather(*(leases.release(n) for n in surplus))
        await partitions.claim_free(leases, PARTITIONS)
