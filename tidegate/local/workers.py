"""The autoscaled services of one machine, for a server elsewhere: a pool each, shared with other machines.

    workers = await Workers(machine, {"cv": PoolSpec(scaled=scaled, most=2)}).start()
    await workers.failed()
    await workers.close()

The autoscaler reads the server as `scaler`, and each worker is its own service's user.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from shared import bus
from shared.bus.client import Connection
from shared.bus.mirror import bind, mirror
from shared.contract import catalog, names
from shared.contract.rights.accounts import user_of
from shared.runtime import child
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings, load
from shared.runtime.tasks import end, supervise
from shared.runtime.telemetry import Health
from tidegate.keda.scaledobject import ScaledObject
from tidegate.local.scaling.autoscaler import Autoscaler, observing
from tidegate.local.scaling.fleet import Fleet
from tidegate.local.scaling.replicas import Replicas

SCALER = "scaler"
# A request to the bucket must fail while there is time for another within a lease.
REQUESTS_A_LEASE = 3


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One service's pool. most: how many replicas this machine may run. env: added to theirs."""

    scaled: ScaledObject
    most: int
    env: Mapping[str, str] = {}


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """This machine among the others. passwords: a folder with a file for each user. tenant: the server's account."""

    name: str
    passwords: Path
    tenant: str = names.ACCOUNT

    def login(self, identity: str) -> dict[str, str]:
        """Return the variables of an identity, and no other secret of our environment. Raises SettingError."""
        user = user_of(self.tenant, identity)
        path = self.passwords / user
        if not os.access(path, os.R_OK) or not path.is_file():
            raise SettingError(
                f"{path} can't be read: copy the file {user} there from the folder that 'tidegate accounts' made"
            )
        empty = dict.fromkeys(("NATS_PASSWORD", "NATS_CREDS"), "")
        return {**empty, "NATS_USER": user, "NATS_PASSWORD_FILE": str(path)}


class Workers:
    """See the module. pools: by service. speed: the autoscalers' clock over the real one. grace_s: maximum time of a
    drain.
    """

    def __init__(
        self, machine: Machine, pools: Mapping[str, PoolSpec], *, speed: float = 1.0, grace_s: float = 30.0
    ) -> None:
        self.machine = machine
        self.health = Health()
        self._specs = pools
        self._speed = speed
        self._grace_s = grace_s
        self._logins = {name: machine.login(catalog.find(name).identity) for name in pools}
        self._settings = load(BusSettings, {**os.environ, **machine.login(SCALER)})
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Workers:
        """Connect, and start the autoscalers. Raises BusError and SettingError."""
        async with AsyncExitStack() as opened:
            await self._start(opened)
            self._opened = opened.pop_all()
        return self

    async def close(self) -> None:
        """Leave our part to other machines, and drain the workers."""
        await self._opened.aclose()

    async def failed(self) -> None:
        """Wait until a part fails, and raise its error."""
        await supervise(*self._tasks)

    async def _start(self, opened: AsyncExitStack) -> None:
        """Start, and close in reverse: other machines take our part before we drain."""
        client = await bus.connect(self._settings, SCALER, health=self.health)
        opened.push_async_callback(client.close)
        client.has_leases = True
        lease_s = self._settings.lease_s
        kv = await bind(client.jetstream(timeout=lease_s / REQUESTS_A_LEASE), names.MACHINES)
        copy = await mirror(client, names.MACHINES, asyncio.Event())
        self._run(opened, copy.run(), "machines")
        live_metrics = await opened.enter_async_context(observing(client, self._speed))
        pools = {name: self._pool(name) for name in self._specs}
        opened.push_async_callback(_close, pools)
        fleets = {
            name: Fleet(kv, copy, pool, self.machine.name, most=self._specs[name].most, lease_s=lease_s)
            for name, pool in pools.items()
        }
        await asyncio.gather(*(fleet.join() for fleet in fleets.values()))
        for name, fleet in fleets.items():
            opened.push_async_callback(fleet.leave)
            self._run(opened, fleet.run(), f"fleet {name}")
            scaled = self._specs[name].scaled
            autoscaler = Autoscaler(live_metrics, scaled, pools[name], speed=self._speed, fleet=fleet)
            self._run(opened, autoscaler.run(), f"scale {name}")
        self._run(opened, self._beat(client), "beat")
        self.health.ready = None

    def _run(self, opened: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))
        opened.push_async_callback(end, self._tasks[-1])

    async def _beat(self, client: Connection) -> None:
        """Report to `/healthz` that the loop moves, and to `/readyz` whether the server is there."""
        while True:
            self.health.beat()
            self.health.ready = None if client.is_connected else "NATS is away: the replicas stay as they are"
            await asyncio.sleep(1.0)

    def _pool(self, name: str) -> Replicas:
        record, spec = catalog.find(name), self._specs[name]
        drain = {"data": "", "drain_s": f"{self._grace_s / 3:g}"}
        defaults = {k: v.format(**drain) for k, v in record.defaults.items() if not os.environ.get(k)}
        env = {**self._logins[name], **defaults, **record.environment, **spec.env}
        # No machine's name has a '_', so no two machines' replicas share a name.
        prefix = f"{self.machine.name}_{name}-"
        targets = Path(self._settings.metrics_targets) if self._settings.metrics_targets else None
        command = child.python(record.module)
        return Replicas(name, command, env, None, prefix=prefix, targets=targets, grace_s=self._grace_s)


async def _close(pools: Mapping[str, Replicas]) -> None:
    await asyncio.gather(*(pool.close() for pool in pools.values()))
