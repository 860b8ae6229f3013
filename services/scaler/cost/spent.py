"""What a service's replicas cost, how much of it was work, and what a static fleet would have cost. Pure.

    cost = Cost(now)
    spent = cost.charge(now, replicas=3, living=3, warming=1, used_s=211.0, working_s=95.5)
    spent.used_s == spent.busy_s + spent.idle_s + spent.warming_s
    spent.saving        # 0.42 of what the fleet's peak would have cost all the time

A replica is warming from its start until it says that it is ready, and busy while it has a message in hand. A heartbeat
tells of work up to a second after it was done. That second counts as idle at first, and later idle time counts as busy
in its place. So the parts only grow, as counters must, and their sums are right.
"""

from __future__ import annotations

import msgspec


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Replica-seconds over the `seconds` since the start. peak: most replicas that were asked for at once."""

    seconds: float = 0.0
    used_s: float = 0.0
    busy_s: float = 0.0
    idle_s: float = 0.0
    warming_s: float = 0.0
    peak: int = 0

    @property
    def static_s(self) -> float:
        """What a fleet of the peak's size would have used."""
        return self.peak * self.seconds

    @property
    def saving(self) -> float:
        """The share of `static_s` that was not used; 0 where nothing ever ran."""
        return 1 - self.used_s / self.static_s if self.static_s > 0 else 0.0

    def describe(self) -> str:
        """Two lines for a person."""
        lines = [
            f"ran {self.seconds:.0f} s; replica-seconds used: {self.used_s:.0f} "
            f"({self.busy_s:.0f} busy, {self.idle_s:.0f} idle, {self.warming_s:.0f} warming up)"
        ]
        if self.static_s > 0:
            workers = "1 worker" if self.peak == 1 else f"{self.peak} workers"
            lines.append(f"a static fleet for the peak of {workers}: {self.static_s:.0f}; saved: {self.saving:.0%}")
        return "\n".join(lines)


class Cost:
    """See the module. `now` is in seconds of a clock that does not step back; the cost starts at the first."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._used_s = 0.0
        self._working_s = 0.0
        self._owed_s = 0.0  # work whose time was counted as idle before it was told
        self.spent = Spent()

    def charge(self, now: float, *, replicas: int, living: int, warming: int, used_s: float, working_s: float) -> Spent:
        """The sums so far.

        replicas: asked for. living: that exist, draining ones too. warming: of these, not ready yet. used_s: seconds
        that all replicas have ever lived. working_s: seconds with a message in hand. Both only grow.
        """
        last = self.spent
        step = max(0.0, used_s - self._used_s)
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
            peak=max(last.peak, replicas),
        )
        return self.spent
