"""The machines that share a service's replicas, and the part of this one.

    fleet = Fleet(kv, mirror, pool, "gpu-1", most=2, lease_s=5.0)
    await fleet.join()                # raises SettingError if another machine has this name
    task = asyncio.create_task(fleet.run())
    await fleet.scale_to(3)           # of all machines; ignored unless this machine decides
    await fleet.leave()

Each machine has an entry in the bucket `machines`, which it renews. The first by name decides the total of all, and the
others follow. A machine whose entry is silent for a lease is gone: the others divide the total without it. Without the
server nobody's silence means anything, and every machine keeps its part.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from nats.js.kv import KeyValue

from shared.bus.leasing.presence import RENEW, Presence
from shared.bus.mirror import Mirror
from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger
from tidegate.local.scaling.division import Machine, divide, machine_of
from tidegate.local.scaling.replicas import Replicas

# How often a machine applies what it has heard.
TICK_S = 0.2


class Fleet:
    """See the module. pool: this machine's replicas. most: how many it may run."""

    def __init__(self, kv: KeyValue, mirror: Mirror, pool: Replicas, name: str, *, most: int, lease_s: float) -> None:
        self.name = name
        self._mirror = mirror
        self._pool = pool
        self._most = most
        self._lease_s = lease_s
        self._total = 0
        self._machines: dict[str, Machine] = {}
        self._presence = Presence(kv, mirror, pool.service, name, lease_s, self._facts)
        self._log = logger("fleet").bind(replicas_of=pool.service)

    @property
    def count(self) -> int:
        """The replicas that all machines together shall run."""
        return self._total

    @property
    def capacity(self) -> int:
        """The replicas that all machines together may run."""
        return sum(machine.most for machine in self._live().values())

    @property
    def decides(self) -> bool:
        """Whether this machine decides the total."""
        return min(self._live(), default="") == self.name and self._presence.may_judge()

    async def join(self) -> None:
        """Take part, with the total that the others run. Raises SettingError if a machine has the same name."""
        await self._mirror.ready.wait()
        prefix = f"{self._pool.service}."
        key = prefix + self.name
        if any(k.startswith(prefix) for k in self._mirror.values):
            # An entry may be of a machine that is gone: only what is renewed within a lease is of one that is not.
            before = self._mirror.revision(key)
            await asyncio.sleep(self._lease_s)
            if self._mirror.revision(key) not in (None, before):
                raise SettingError(
                    f"another 'tidegate workers' runs {self._pool.service} as {self.name}: give this one another --name"
                )
        others = self._live()
        self._total = others[min(others)].total if others else 0
        await self._presence.appear()

    async def run(self) -> None:
        """Renew our entry, and run our part, until cancelled."""
        next_at = 0.0
        while True:
            if time.monotonic() >= next_at:
                await self._presence.appear()
                next_at = time.monotonic() + RENEW * self._lease_s
            await self._follow()
            await asyncio.sleep(TICK_S)

    async def scale_to(self, n: int) -> None:
        """Run `n` replicas on all machines together, up to the sum of what they may run. Ignored unless we decide."""
        if self.decides and self._total != (n := min(n, self.capacity)):
            self._total = n
            await self._presence.appear()
            await self._follow()

    async def leave(self) -> None:
        """No longer take part: the others run our part."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease_s):
                await self._presence.withdraw()

    def _facts(self) -> tuple[str, ...]:
        return Machine(self._most, self._total).facts()

    def _live(self) -> dict[str, Machine]:
        return {name: machine_of(facts) for name, facts in self._presence.facts().items()}

    async def _follow(self) -> None:
        """Apply the total of the machine that decides, and run our part of it."""
        live = self._live()
        if self.name not in live or not self._presence.may_judge():
            return
        first = min(live)
        if first != self.name:
            self._total = live[first].total
        self._report(live)
        part = divide(self._total, {name: machine.most for name, machine in live.items()})[self.name]
        if part != self._pool.count:
            self._log.info("this machine's part", before=self._pool.count, after=part, of=self._total)
            await self._pool.scale_to(part)

    def _report(self, live: dict[str, Machine]) -> None:
        """Log the machines when they change."""
        if live.keys() != self._machines.keys():
            places = {name: machine.most for name, machine in sorted(live.items())}
            self._log.info("machines", most=places, decides=min(live))
        self._machines = live
