"""Limits of the analysis of a camera, and of memory and checkpoints, whatever is published about cameras. Pure."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's settings, in seconds except for fps.

    reorder_s: time to wait for a missing segment. fps: maximum frames a second to analyse; tracks are filled in between
    them. lost_s: how long an object may be unseen and still be the same. update_s: time between two events of a track.
    idle_s: after this long without video, everything ends. verify_s: time to wait for a verdict. settle_s: time to wait
    for revisions of deferred frames; 0: no second pass.
    """

    reorder_s: float = 15.0
    fps: float = 5.0
    lost_s: float = 2.0
    update_s: float = 2.0
    idle_s: float = 30.0
    verify_s: float = 600.0
    settle_s: float = 900.0


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """unlisted: maximum cameras without an entry or rules. state_bytes: maximum of all cameras' states, as msgpack.

    waiting_bytes: maximum of all segments that wait for a missing one, compressed.
    """

    unlisted: int = 256
    state_bytes: int = 128 * 2**20
    waiting_bytes: int = 48 * 2**20


WHOLE = Budget()


class ObjectRate:
    """Bounds the objects analysed per second of the log's time, so that crowds of some cameras delay no other.

    total: of all cameras together; 10,000 take about a second of a core. each: a camera's share, which it always has.
    """

    def __init__(self, total: int = 15_000, each: int = 1000) -> None:
        self._total, self._each = total, each
        self._second, self._sum = 0, 0
        self._of: dict[str, int] = {}

    def allows(self, camera: str, objects: int, at: float) -> bool:
        """Count a segment's objects; return whether to analyse all of them. at: when it was stored, Unix seconds."""
        if self._second != int(at):
            self._second, self._sum, self._of = int(at), 0, {}
        count = self._of.get(camera, 0) + objects
        if count > self._each and self._sum + objects > self._total:
            return False
        self._of[camera] = count
        self._sum += objects
        return True
