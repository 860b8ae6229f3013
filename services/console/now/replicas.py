"""The heartbeats of one service's workers, and their sums. Pure.

A replica is busy while it has a message in flight, warming until it reports ready, and idle otherwise. Time before its
first heartbeat, and while it is silent, is not counted.
"""

from __future__ import annotations

import re

import msgspec

from services.console.now.rates import Flow
from shared.contract.work.stats import WorkerStats

# A replica counts as stopped after five missed beats.
SILENCE_S = 5.0
# A replica that returns within MEMORY_S is the same one; a new process within RESTART_S is a restart.
MEMORY_S = 600.0
RESTART_S = 30.0
# Replicas stored for each service: those with the newest heartbeats.
MOST = 1000
# Stored pairs of model and deployment.
MOST_KINDS = 32
# A pod of a Deployment: its name, its template's hash, its own.
_POD = re.compile(r"^.{1,200}-([0-9a-z]{6,10})-[0-9a-z]{5}$")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Replica-seconds since the console started, `seconds` ago: `used_s` is the sum of busy, idle and warming.

    computing_s: seconds in which the devices computed. peak: most concurrent replicas. saved_s: what a constant fleet
    of that size would have used in addition.
    """

    seconds: float = 0.0
    used_s: float = 0.0
    busy_s: float = 0.0
    idle_s: float = 0.0
    warming_s: float = 0.0
    computing_s: float = 0.0
    peak: int = 0

    @property
    def saved_s(self) -> float:
        return max(0.0, self.peak * self.seconds - self.used_s)


class ReplicaNow(msgspec.Struct, frozen=True, kw_only=True):
    """A replica's last heartbeat, `age_s` seconds ago.

    busy: share of the last seconds with a message in flight. device: where its model runs; empty if not reported. rate:
    messages a second of the last seconds. busy_rate: the same of its seconds with a message in flight since its start;
    None before its first message. item_ms: of the device, an item; None before the first item.
    """

    replica: str
    state: str
    model: str
    in_flight: int = msgspec.field(name="held")
    busy: float
    uptime_s: float
    age_s: float
    device: str = ""
    rate: float = 0.0
    busy_rate: float | None = None
    item_ms: float | None = None


class _Replica:
    def __init__(self, stats: WorkerStats, now: float) -> None:
        self.last, self.at = stats, now
        self.working, self.processed = Flow(now), Flow(now)
        # Reported work beyond the elapsed time: heartbeats come a little early or late.
        self.owed_s = 0.0


class Fleet:
    """See the module. `now`: seconds of a clock that does not step back.

    frames_wanted, frames_analysed, backfilled: sums over all replicas. wanted, analysed: frames a second.
    """

    def __init__(self, now: float) -> None:
        self.frames_wanted = self.frames_analysed = self.backfilled = 0
        self.wanted, self.analysed = Flow(now), Flow(now)
        self._began = now
        self._replicas: dict[str, _Replica] = {}
        self._spent = Spent()
        self._kinds: dict[tuple[str, str], None] = {}

    def beat(self, replica: str, stats: WorkerStats, now: float) -> str:
        """Record a heartbeat. Return a sentence if it shows a deployment or a restart, else an empty one."""
        entry = self._replicas.pop(replica, None)
        change = self._change_of(replica, stats, entry, now)
        if entry is None:
            entry = _Replica(stats, now)
        else:
            self._add(entry, stats, now)
            entry.last, entry.at = stats, now
        # The dict is in the order of the last heartbeats.
        while self._replicas and (
            len(self._replicas) >= MOST or now - next(iter(self._replicas.values())).at > MEMORY_S
        ):
            del self._replicas[next(iter(self._replicas))]
        self._replicas[replica] = entry
        return change

    def tick(self, now: float) -> None:
        living = [r for r in self._replicas.values() if now - r.at <= SILENCE_S]
        peak = sum(r.last.state != "draining" for r in living)
        spent = self._spent
        self._spent = msgspec.structs.replace(spent, peak=max(spent.peak, peak), seconds=now - self._began)

    @property
    def spent(self) -> Spent:
        return self._spent

    def count(self, now: float, *states: str) -> int:
        """Return the number of replicas in one of these states."""
        return sum(r.last.state in states and now - r.at <= SILENCE_S for r in self._replicas.values())

    def deferred_share(self, now: float) -> float:
        """Return the deferred share of the frames of the last seconds."""
        wanted = self.wanted.per_second(now)
        return max(0.0, 1 - self.analysed.per_second(now) / wanted) if wanted > 1e-6 else 0.0

    def replicas(self, now: float) -> list[ReplicaNow]:
        """Return the live replicas in the order of their names."""
        return [
            ReplicaNow(
                replica=name,
                state=r.last.state,
                model=r.last.model,
                in_flight=r.last.in_flight,
                busy=min(1.0, r.working.per_second(now)),
                uptime_s=r.last.uptime_s,
                age_s=round(max(0.0, now - r.at), 3),
                device=r.last.device,
                rate=round(r.processed.per_second(now), 3),
                busy_rate=_ratio(r.last.processed, r.last.working_s),
                item_ms=_ratio(1000 * r.last.busy_s, r.last.items),
            )
            for name, r in sorted(self._replicas.items())
            if now - r.at <= SILENCE_S
        ]

    def _add(self, entry: _Replica, stats: WorkerStats, now: float) -> None:
        """Add a replica's work between two heartbeats. Counters that fall mean that it restarted."""
        before = entry.last
        if stats.pid != before.pid or stats.processed < before.processed or stats.working_s < before.working_s:
            return
        lived_s, working_s = now - entry.at, stats.working_s - before.working_s
        self.frames_wanted += max(0, stats.frames_wanted - before.frames_wanted)
        self.frames_analysed += max(0, stats.frames_analysed - before.frames_analysed)
        self.backfilled += max(0, stats.backfilled - before.backfilled)
        self.wanted.add(now, max(0, stats.frames_wanted - before.frames_wanted))
        self.analysed.add(now, max(0, stats.frames_analysed - before.frames_analysed))
        entry.working.add(now, working_s)
        entry.processed.add(now, stats.processed - before.processed)
        if lived_s > SILENCE_S:
            entry.owed_s = 0.0
            return
        busy_s = min(lived_s, entry.owed_s + working_s)
        entry.owed_s += working_s - busy_s
        self._spend(before.state, lived_s, busy_s, stats.busy_s - before.busy_s)

    def _spend(self, state: str, lived_s: float, busy_s: float, computing_s: float) -> None:
        idle_s = lived_s - busy_s
        spent = self._spent
        self._spent = msgspec.structs.replace(
            spent,
            used_s=spent.used_s + lived_s,
            busy_s=spent.busy_s + busy_s,
            idle_s=spent.idle_s + (0.0 if state == "loading" else idle_s),
            warming_s=spent.warming_s + (idle_s if state == "loading" else 0.0),
            computing_s=spent.computing_s + min(lived_s, max(0.0, computing_s)),
        )

    def _change_of(self, replica: str, stats: WorkerStats, entry: _Replica | None, now: float) -> str:
        # A loading worker does not report its model.
        if stats.model:
            pod = _POD.match(replica)
            kind = (stats.model, pod.group(1) if pod else "")
            is_new = kind not in self._kinds
            self._kinds.pop(kind, None)
            self._kinds[kind] = None
            if len(self._kinds) > MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            # What ran when the console started is no change.
            if is_new and len(self._kinds) > 1 and now - self._began > SILENCE_S:
                return f"{replica} runs {stats.model}, in a deployment that is new"
        if (
            entry
            and entry.last.state != "draining"
            and now - entry.at <= RESTART_S
            and _is_other_process(entry.last, stats)
        ):
            return f"{replica} was started anew"
        return ""


def _ratio(amount: float, of: float) -> float | None:
    """Return a rounded ratio; None if either is 0."""
    return round(amount / of, 3) if amount and of else None


def _is_other_process(before: WorkerStats, after: WorkerStats) -> bool:
    """Whether it is another process. In containers all have the same pid; after loading, uptime restarts."""
    return before.pid != after.pid or (before.state == "ready" and after.uptime_s < before.uptime_s)
