"""Limits of a partition's memory and checkpoints, whatever is published about its cameras. Pure."""

from __future__ import annotations

import math

import msgspec


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """unlisted: maximum cameras without an entry or rules. state_bytes: maximum of all cameras' states, as msgpack.

    waiting_bytes: maximum of all segments that wait for a missing one, compressed.
    """

    unlisted: int = 256
    state_bytes: int = 128 * 2**20
    waiting_bytes: int = 48 * 2**20

    def share(self, partitions: int) -> Budget:
        """Return the budget of one of `partitions` partitions."""
        return Budget(
            unlisted=math.ceil(self.unlisted / partitions),
            state_bytes=self.state_bytes // partitions,
            waiting_bytes=self.waiting_bytes // partitions,
        )


WHOLE = Budget()
