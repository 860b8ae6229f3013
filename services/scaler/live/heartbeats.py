"""The heartbeats of one service's workers, summed to totals that never decrease. Pure.

    heartbeats = Heartbeats()
    heartbeats.beat(Beat(replica="cv-0", pid=7, state="ready", processed=12, working_s=3.5), now)
    heartbeats.fleet(now)        # None without a heartbeat in the last seconds

Workers count from their own start, and they come and go. A rate needs a sum that never decreases.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from services.scaler.demand.observation import Workers
from shared.contract.questions.explain import ReplicaSeen
from shared.contract.work.stats import WorkerStats

# A replica is gone once it has missed five beats.
SILENCE_S = 5.0
# A replica that returns within this time continues its counters.
MEMORY_S = 600.0
# The maximum replicas per service: those with the latest heartbeats.
MOST = 1000


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """One replica's counters since its process started.

    processed: messages, failed ones too, as they took time. working_s: seconds with one in flight.
    wanted_s, work_s, wanted, analysed, never: `wanted_s`, `work_s`, `frames_wanted`, `frames_analysed` and
    `frames_never` of `WorkerStats`.
    """

    replica: str
    pid: int
    state: Literal["loading", "ready", "draining"]
    processed: float
    working_s: float
    wanted_s: float = 0.0
    work_s: float = 0.0
    wanted: float = 0.0
    analysed: float = 0.0
    never: float = 0.0


def beat_of(stats: WorkerStats) -> Beat:
    """Return the counted part of a worker's heartbeat."""
    return Beat(
        replica=stats.replica,
        pid=stats.pid,
        state=stats.state,
        processed=stats.processed + stats.failed,
        working_s=stats.working_s,
        wanted_s=stats.wanted_s,
        work_s=stats.work_s,
        wanted=float(stats.frames_wanted),
        analysed=float(stats.frames_analysed),
        never=float(stats.frames_never),
    )


class Heartbeats:
    """The replicas of one service. `now` is in seconds of a clock that does not step back.

    working_s: seconds with a message in flight. lived_s: seconds between the heartbeats of each process, without
    silences. Both are summed over all replicas ever heard.
    """

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self._silence_s = silence_s
        self._last: dict[str, tuple[float, Beat]] = {}
        self._processed = 0.0
        self.working_s = 0.0
        self.lived_s = 0.0
        self._work = self._wanted = self._sampled = self._never = 0.0
        self._says_work = False

    def beat(self, beat: Beat, now: float) -> None:
        """Add a heartbeat. Work before a replica's first heartbeat is not counted: rates are differences."""
        if previous := self._last.pop(beat.replica, None):
            at, before = previous
            if beat.pid == before.pid and now - at <= self._silence_s:
                self.lived_s += now - at
            self._add(beat, before)
        # The dict is ordered by the last heartbeat.
        while self._last and (len(self._last) >= MOST or now - next(iter(self._last.values()))[0] > MEMORY_S):
            del self._last[next(iter(self._last))]
        self._last[beat.replica] = (now, beat)
        self._says_work = self._says_work or beat.wanted > 0

    def _add(self, beat: Beat, before: Beat) -> None:
        """Add a replica's work between two heartbeats. A replica that counts from zero again has restarted."""
        is_restart = beat.pid != before.pid or any(
            getattr(beat, count) < getattr(before, count) for count in ("processed", "working_s", "wanted_s", "wanted")
        )
        since = Beat(replica="", pid=0, state="ready", processed=0.0, working_s=0.0) if is_restart else before
        processed, wanted_s = beat.processed - since.processed, beat.wanted_s - since.wanted_s
        # A partially analysed segment counts in proportion to the replica time it took.
        share = min(1.0, max(0.0, beat.work_s - since.work_s) / wanted_s) if wanted_s > 0 else 1.0
        self._processed += processed
        self.working_s += beat.working_s - since.working_s
        self._work += processed * share
        self._wanted += beat.wanted - since.wanted
        self._sampled += max(0.0, beat.analysed - since.analysed)
        self._never += max(0.0, beat.never - since.never)

    def fleet(self, now: float) -> Workers | None:
        """Return the present replicas, and the cumulative work of all; None if no replica is heard."""
        states = [beat.state for at, beat in self._last.values() if now - at <= self._silence_s]
        if not states:
            return None
        return Workers(
            ready=states.count("ready"),
            loading=states.count("loading"),
            processed=self._processed,
            working_s=self.working_s,
            work=self._work if self._says_work else None,
            wanted=self._wanted if self._says_work else None,
            analysed=self._sampled if self._says_work else None,
            never=self._never,
        )

    def lost(self, now: float, within_s: float) -> list[str]:
        """Return the replicas that became silent without draining, in the last `within_s` seconds."""
        return [
            replica
            for replica, (at, beat) in self._last.items()
            if beat.state != "draining" and self._silence_s < now - at <= self._silence_s + within_s
        ]

    def replicas(self, now: float) -> list[ReplicaSeen]:
        """Return the present replicas, in the order of their names."""
        return [
            ReplicaSeen(
                replica=replica, state=b.state, processed=b.processed, working_s=b.working_s, age_s=round(now - at, 3)
            )
            for replica, (at, b) in sorted(self._last.items())
            if now - at <= self._silence_s
        ]
