"""The cost of a service's replicas, the busy part of it, and the cost of a static fleet.

A replica is warming from its start until it reports ready, and busy while it has a message in flight. A heartbeat
reports work up to a second late. That second counts as idle at first, and later idle time counts as busy in its place.
So the parts never decrease, as counters must, and their sums are right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
from prometheus_client import Counter, Gauge

from services.scaler.live.heartbeats import Heartbeats

# Above this share of the requested time that was lost to deaths, the rest is no measure of what the work costs.
DOWN = 0.05


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Replica-seconds over the `seconds` since the start: used_s is the sum of busy, idle and warming.

    peak: the maximum of requested replicas. down_s: requested, and without a process since a death.
    """

    seconds: float = 0.0
    used_s: float = 0.0
    busy_s: float = 0.0
    idle_s: float = 0.0
    warming_s: float = 0.0
    down_s: float = 0.0
    peak: int = 0

    @property
    def static_s(self) -> float:
        """The replica-seconds of a fleet of the peak's size."""
        return self.peak * self.seconds

    @property
    def saving(self) -> float:
        """The share of `static_s` that nobody requested; 0 if nothing ever ran. A crash saves nothing."""
        return max(0.0, 1 - (self.used_s + self.down_s) / self.static_s) if self.static_s > 0 else 0.0

    def describe(self) -> str:
        """Return two lines for a person."""
        lines = [
            f"ran {self.seconds:.0f} s; replica-seconds used: {self.used_s:.0f} "
            f"({self.busy_s:.0f} busy, {self.idle_s:.0f} idle, {self.warming_s:.0f} warming up)"
        ]
        if self.down_s >= 1:
            lines[0] += f"; requested, and without a process: {self.down_s:.0f}"
        if self.static_s > 0:
            workers = "1 worker" if self.peak == 1 else f"{self.peak} workers"
            dead = self.down_s > DOWN * (self.used_s + self.down_s)
            saved = "workers died, so nothing is known of a saving" if dead else f"saved: {self.saving:.0%}"
            lines.append(f"a static fleet for the peak of {workers}: {self.static_s:.0f}; {saved}")
        return "\n".join(lines)


class Cost:
    """See the module. `now` is in seconds of a clock that does not step back; the cost starts at the first."""

    def __init__(self, now: float) -> None:
        self._began = self._last = now
        self._used_s = 0.0
        self._working_s = 0.0
        self._owed_s = 0.0  # work whose time was counted as idle before its report
        self.spent = Spent()

    def charge(
        self, now: float, *, replicas: int, living: int, warming: int, used_s: float, working_s: float, dead: int = 0
    ) -> Spent:
        """Return the sums so far.

        replicas: requested. living: existing, draining ones too. warming: of these, not ready yet. used_s: cumulative
        lifetime of all replicas. working_s: cumulative seconds with a message in flight. dead: requested replicas whose
        process has died, and that have no other yet.
        """
        last = self.spent
        step = max(0.0, used_s - self._used_s)
        down = max(0.0, now - self._last) * dead
        self._last = now
        warm = step * min(1.0, warming / living) if living else 0.0
        self._owed_s += max(0.0, working_s - self._working_s)
        busy = min(self._owed_s, step - warm)
        self._owed_s -= busy
        self._used_s = max(self._used_s, used_s)
        self._working_s = max(self._working_s, working_s)
        self.spent = Spent(
            seconds=now - self._began,
            used_s=self._used_s,
            busy_s=last.busy_s + busy,
            idle_s=last.idle_s + max(0.0, step - warm - busy),
            warming_s=last.warming_s + warm,
            down_s=last.down_s + down,
            peak=max(last.peak, replicas),
        )
        return self.spent


USED = Counter(
    "tidegate_replica_seconds_total", "seconds that replicas have lived: busy, idle and warming", ["service"]
)
BUSY = Counter(
    "tidegate_replica_busy_seconds_total", "seconds that replicas have lived with a message in hand", ["service"]
)
IDLE = Counter(
    "tidegate_replica_idle_seconds_total", "seconds that replicas have lived ready, without a message", ["service"]
)
WARMING = Counter(
    "tidegate_replica_warming_seconds_total", "seconds that replicas have lived before they were ready", ["service"]
)
SAVING = Gauge(
    "tidegate_replica_saving_ratio",
    "share that was saved of the replica-seconds of a static fleet for the peak, since the start",
    ["service"],
)


class Account:
    """One service's cost, exported as it grows."""

    def __init__(self, service: str, now: float | None = None) -> None:
        self._service = service
        self._cost = Cost(time.monotonic() if now is None else now)

    def charge(
        self, *, replicas: int, living: int, warming: int, used_s: float, working_s: float, dead: int = 0
    ) -> Spent:
        """Charge the usage since the last call. See `Cost.charge`."""
        before = self._cost.spent
        spent = self._cost.charge(
            time.monotonic(),
            replicas=replicas,
            living=living,
            warming=warming,
            used_s=used_s,
            working_s=working_s,
            dead=dead,
        )
        USED.labels(self._service).inc(spent.used_s - before.used_s)
        BUSY.labels(self._service).inc(spent.busy_s - before.busy_s)
        IDLE.labels(self._service).inc(spent.idle_s - before.idle_s)
        WARMING.labels(self._service).inc(spent.warming_s - before.warming_s)
        SAVING.labels(self._service).set(spent.saving)
        return spent


class HeardAccounts:
    """Accounts of every service with heartbeats, from now on. heartbeats: returns them by service.

    A scaler that does not own the pool knows a replica from its first heartbeat to its last. It can't count a starting
    process, or a pod that waits for its node.
    """

    def __init__(self, heartbeats: Callable[[], Mapping[str, Heartbeats]]) -> None:
        self._heartbeats = heartbeats
        self._began = time.monotonic()
        self._accounts: dict[str, Account] = {}

    def charge_heard(self) -> None:
        """Charge the heartbeats since the last call; once a second is often enough."""
        now = time.monotonic()
        for service, heartbeats in self._heartbeats().items():
            account = self._accounts.get(service)
            if account is None:
                account = self._accounts[service] = Account(service, self._began)
            states = [replica.state for replica in heartbeats.replicas(now)]
            account.charge(
                replicas=len(states) - states.count("draining"),
                living=len(states),
                warming=states.count("loading"),
                used_s=heartbeats.lived_s,
                working_s=heartbeats.working_s,
            )
