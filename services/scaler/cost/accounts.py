"""The cost of replicas, for Prometheus: of a pool of ours, or of any service whose workers are heard.

    account = Account("cv")
    account.charge(replicas=3, living=3, warming=1, used_s=211.0, working_s=95.5)
    accounts = HeardAccounts(estimator.heartbeats)
    accounts.charge_heard()           # every second

A scaler that does not own the pool knows a replica from its first heartbeat to its last. It can't count a starting
process, or a pod that waits for its node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from prometheus_client import Counter, Gauge

from services.scaler.cost.spent import Cost, Spent
from services.scaler.live.heartbeats import Heartbeats

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

    def charge(self, *, replicas: int, living: int, warming: int, used_s: float, working_s: float) -> Spent:
        """Charge the usage since the last call. See `Cost.charge`."""
        before = self._cost.spent
        spent = self._cost.charge(
            time.monotonic(), replicas=replicas, living=living, warming=warming, used_s=used_s, working_s=working_s
        )
        USED.labels(self._service).inc(spent.used_s - before.used_s)
        BUSY.labels(self._service).inc(spent.busy_s - before.busy_s)
        IDLE.labels(self._service).inc(spent.idle_s - before.idle_s)
        WARMING.labels(self._service).inc(spent.warming_s - before.warming_s)
        SAVING.labels(self._service).set(spent.saving)
        return spent


class HeardAccounts:
    """Accounts of every service with heartbeats, from now on. heartbeats: returns them by service."""

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
