"""How many cameras this process claims, and which. Pure.

Each process claims up to its share. If cameras are still unread after a while, the processes that others left them to
don't take them: then it claims beyond its share, up to INGEST_MAX_CAMERAS.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

# Concurrent claims: a process that inherits hundreds of cameras must go on renewing its leases.
CLAIMS_AT_ONCE = 16


class FreeCamera(NamedTuple):
    """A camera that may be claimed. is_offered: its holder reads it until it is taken. turn_over_at: when its last turn
    was over, 0 without one. revision: of its entry.
    """

    name: str
    is_offered: bool
    turn_over_at: float
    revision: int


def fair_share(wanted: int, processes: int, most: int) -> int:
    """Return how many cameras a process reads if all read the same number. most: INGEST_MAX_CAMERAS."""
    return min(most, math.ceil(wanted / processes))


def room_for_claims(share: int, owned: int, unread: int, most: int, *, are_left: bool) -> int:
    """Return how many cameras to claim. unread: free cameras that no process reads. are_left: for a while now."""
    return max(share - owned, min(unread, most - owned) if are_left else 0, 0)


def waiting(owned: int, unread: int, most: int) -> int:
    """Return how many cameras no process has room for, as this one sees it."""
    return max(0, unread - max(0, most - owned))


def candidates(free: Sequence[FreeCamera], room: int, processes: int) -> list[FreeCamera]:
    """Return the cameras to claim first, in random order, so that two processes seldom claim the same one.

    If there is not room for all unread cameras, these are the next in rank, as many as all processes claim at once.
    """
    shuffled = random.sample(free, len(free))
    if sum(not camera.is_offered for camera in free) <= room:
        return sorted(shuffled, key=lambda camera: camera.is_offered)
    first = sorted(shuffled, key=_rank)[: min(room, CLAIMS_AT_ONCE) * processes]
    return random.sample(first, len(first))


def _rank(camera: FreeCamera) -> tuple[bool, float, int]:
    """The order of claims: unread cameras first, then those whose last turn is longest ago.

    Among cameras without a turn the newest comes first: somebody who has just added one waits for it.
    """
    return camera.is_offered, camera.turn_over_at, -camera.revision
