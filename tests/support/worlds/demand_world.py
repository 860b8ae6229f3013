"""A small world of a consumer and workers that scales by demand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from services.scaler.demand.estimate import Estimate
from services.scaler.demand.observation import Observation, Workers
from services.scaler.demand.parameters import DemandSettings
from services.scaler.demand.policy import Demand

SYNC_S = 15


class World:
    """A consumer and workers that do `rate` a second each; requested every 15 s, and there after a cold start.

    poison: messages that come again as soon as they have failed. hogs: messages that keep a worker for ever. `unheard`
    loses all heartbeats, and `deaf` does not scale.
    """

    def __init__(
        self,
        arrivals: Callable[[float], float],
        *,
        rate: float = 4,
        cold: float = 60,
        ready: int = 0,
        poison: int = 0,
        hogs: int = 0,
        every: int = 1,
        seed: int | None = 1,
    ) -> None:
        self.settings = DemandSettings(latency_target_s=5, cold_start_s=cold, lag_threshold=max(1.0, 0.75 * rate * 5))
        self.demand = Demand(self.settings)
        self.arrivals, self.rate, self.cold, self.poison, self.hogs = arrivals, rate, cold, poison, hogs
        self.every = every
        self.unheard = self.deaf = False
        self.now = 0
        self.ready = ready
        self.warm: list[float] = []
        self.arrived = poison + hogs
        self.left = self.processed = self.working = 0.0
        self.estimates: list[Estimate] = []
        self.replicas: list[int] = []
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._owed = 0.0

    def run(self, seconds: int) -> World:
        """Run for some seconds, and remember only these."""
        self.estimates, self.replicas = [], []
        for _ in range(seconds):
            self._second()
        return self

    @property
    def last(self) -> Estimate:
        return self.estimates[-1]

    def _second(self) -> None:
        rate = self.arrivals(self.now)
        self._owed += rate
        came = int(self._owed) if self._rng is None else int(self._rng.poisson(rate))
        self._owed -= int(self._owed)
        self.arrived += came
        self.left += came
        self.now += 1
        self.ready += sum(at <= self.now for at in self.warm)
        self.warm = [at for at in self.warm if at > self.now]
        done = min(self.left, max(0, self.ready - self.hogs) * self.rate)
        self.left -= done
        self.processed += done
        self.working += done / self.rate + min(self.ready, self.hogs)
        if self.now % self.every == 0:
            self.estimates.append(self.demand.observe(self.observation()))
        if self.now % SYNC_S == 7 and not self.deaf and self.estimates:
            self._scale(max(1, math.ceil(self.last.replicas)) if self.last.active else 0)
        self.replicas.append(self.ready + len(self.warm))

    def _scale(self, want: int) -> None:
        have = self.ready + len(self.warm)
        self.warm += [self.now + self.cold] * (want - have)
        for _ in range(have - want):
            if self.warm:
                self.warm.pop()
            else:
                self.ready -= 1

    def observation(self) -> Observation:
        backlog = round(self.left) + self.poison + self.hogs
        in_flight = min(backlog, 2 * self.ready)
        heard = not self.unheard and self.ready + len(self.warm) > 0
        return Observation(
            time=float(self.now),
            arrived=self.arrived,
            pending=backlog - in_flight,
            in_flight=in_flight,
            fleet=Workers(ready=self.ready, loading=len(self.warm), processed=self.processed, working_s=self.working)
            if heard
            else None,
        )
