"""Hands a running camera from this process to another without a gap, and takes cameras that others hand over.

    free = await handover.offer(["lobby"])      # others may take it; we keep it meanwhile
    handover.update()                           # about twice a second, and after each change of the leases
    handover.leaving                            # another process has taken it; we read it until that one has video
    handover.start("lobby", time.time())        # in the process that has taken it: its video begins now

`shared/bus/leasing/state.py` has the states and the transitions, `shared/bus/leasing/entry.py` the entries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from shared.bus.leasing.leases import Leases
from shared.bus.leasing.state import OWNED, LeaseEvent, LeaseState
from shared.runtime.tasks import Background, end


class Handover:
    """The offered and taken cameras among the leases of this process."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._announcing = Background()

    @property
    def leaving(self) -> set[str]:
        """The cameras that other processes have taken, and that we work on until these start."""
        return set(self._leases.having(LeaseState.LEAVING))

    def owns(self, camera: str) -> bool:
        """Whether it is ours, and no other process has taken it."""
        lease = self._leases.table.get(camera)
        return lease is not None and lease.state in OWNED

    def waits(self, camera: str) -> bool:
        """Whether we took it from a process that still works on it, as we have not started."""
        lease = self._leases.table.get(camera)
        return lease is not None and lease.state is LeaseState.TAKEN

    def start(self, camera: str, at: float | None, also: Sequence[float] = ()) -> bool:
        """Record that we work on it since `at`, in Unix seconds, and on further streams since `also`; None: we can't
        until another process stops.

        Return whether another process had it until now, and is notified. Later calls change nothing.
        """
        lease = self._leases.table.get(camera)
        if lease is None or lease.state is not LeaseState.TAKEN:
            return False
        lease.start(at, also)
        self._announcing.start(self._leases.renew(camera))
        return True

    async def offer(self, cameras: Iterable[str]) -> set[str]:
        """Offer only these of our cameras; return those that others may take. A camera just taken is not offered until
        its previous holder knows of our start.
        """
        wanted, now = set(cameras), time.monotonic()
        changed: list[str] = []
        for camera, lease in self._leases.having(LeaseState.HELD, LeaseState.OFFERED).items():
            if (camera in wanted and lease.is_settled(now)) != (lease.state is LeaseState.OFFERED):
                lease.apply(LeaseEvent.KEEP if lease.state is LeaseState.OFFERED else LeaseEvent.OFFER)
                changed.append(camera)
        await asyncio.gather(*(self._leases.renew(camera) for camera in changed))
        return set(self._leases.having(LeaseState.OFFERED))

    def update(self) -> None:
        """Lose the cameras that other processes have taken from our offers. Each is in `leaving` first."""
        for camera, lease in self._leases.having(LeaseState.LEAVING).items():
            entry, _, is_silent = self._leases.newest(camera)
            # A thing without another holder counts as silent.
            is_silent = is_silent or not entry.is_of_another(self._leases.process)
            is_silent = is_silent and self._leases.presence.may_judge()
            lease.leave(entry, time.monotonic(), time.time(), is_silent=is_silent)
        for camera, lease in self._leases.having(LeaseState.OFFERED).items():
            if self._leases.is_superseded(camera, lease):
                self._leases.lose(camera, self._leases.newest(camera).entry)

    async def stop(self) -> None:
        """Announce no more starts."""
        await end(*self._announcing.tasks)
