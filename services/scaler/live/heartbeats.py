"""The heartbeats of one service's workers, added up to totals that only grow. Pure.

    heartbeats = Heartbeats()
    heartbeats.beat(Beat(replica="cv-0", pid=7, state="ready", processed=12, working_s=3.5), now)
    heartbeats.fleet(now)        # None where no worker was heard in the last seconds

Workers count from their own start, and they come and go. A rate needs a sum that never falls.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from services.scaler.demand.observation import Workers
from shared.contract.stats import WorkerStats

# A replica is gone once it has missed five beats.
SILENCE_S = 5.0
# A replica that is heard again within this time goes on from where it was.
MEMORY_S = 600.0
# So many replicas of a service are known at once: those that were heard last.
MOST = 1000


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """One replica's counters since its process started.

    processed: messages worked through, failed ones too, as they took time. working_s: seconds with one in hand.
    """

    replica: str
    pid: int
    state: Literal["loading", "ready", "draining"]
    processed: float
    working_s: float


class ReplicaSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as it was last heard, `age_s` seconds ago."""

    replica: str
    state: str
    processed: float
    working_s: float
    age_s: float


def beat_of(stats: WorkerStats) -> Beat:
    """The part of a worker's heartbeat that is counted here."""
    return Beat(
        replica=stats.replica,
        pid=stats.pid,
        state=stats.state,
        processed=stats.processed + stats.failed,
        working_s=stats.working_s,
    )


class Heartbeats:
    """The replicas of one service. `now` is in seconds of a clock that does not step back."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self._silence_s = silence_s
        self._last: dict[str, tuple[float, Beat]] = {}
        self._processed = 0.0
        self._working_s = 0.0
        self._lived_s = 0.0

    @property
    def working_s(self) -> float:
        """Seconds with a message in hand, summed over all replicas ever heard."""
        return self._working_s

    @property
    def lived_s(self) -> float:
        """Seconds between the heartbeats of each process, summed over all ever heard. A silence is not counted."""
        return self._lived_s

    def beat(self, beat: Beat, now: float) -> None:
        """Take a heartbeat. What a replica did before it was first heard is not counted: rates are made of changes."""
        if known := self._last.pop(beat.replica, None):
            at, before = known
            if beat.pid == before.pid and now - at <= self._silence_s:
                self._lived_s += now - at
            anew = beat.pid != before.pid or beat.processed < before.processed or beat.working_s < before.working_s
            self._processed += beat.processed - (0.0 if anew else before.processed)
            self._working_s += beat.working_s - (0.0 if anew else before.working_s)
        # They are in the order in which they were heard.
        while self._last and (len(self._last) >= MOST or now - next(iter(self._last.values()))[0] > MEMORY_S):
            del self._last[next(iter(self._last))]
        self._last[beat.replica] = (now, beat)

    def fleet(self, now: float) -> Workers | None:
        """The replicas that are there now, and what all have done so far; None where no replica is heard."""
        states = [beat.state for at, beat in self._last.values() if now - at <= self._silence_s]
        if not states:
            return None
        return Workers(
            ready=states.count("ready"),
            loading=states.count("loading"),
            processed=self._processed,
            working_s=self._working_s,
        )

    def replicas(self, now: float) -> list[ReplicaSeen]:
        """The replicas that are there now, in the order of their names."""
        return [
            ReplicaSeen(
                replica=replica, state=b.state, processed=b.processed, working_s=b.working_s, age_s=round(now - at, 3)
            )
            for replica, (at, b) in sorted(self._last.items())
            if now - at <= self._silence_s
        ]
