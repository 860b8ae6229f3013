"""The queue and its replicas: a discrete-event simulation between two decisions. It is compiled with numba, if any.

A free replica takes up to `batch` waiting segments, the oldest first, and is busy for the sum of their work. A real
worker has more in flight, but naks it within milliseconds of SIGTERM (measured: 1.3 ms, redelivered within 25 ms). So
here it never leaves the queue.

A replica chooses the level of each segment as its work begins, by the rule of real workers; the segments stand for
cameras whose places are spread evenly. A partially analysed segment is a backfill job, which costs all of its work
again. A free replica without waiting segments takes the oldest job, and finishes it whatever arrives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.elastic import brownout
from shared.elastic.levels import LEVELS
from tidegate.simulation.compiled import compiled
from tidegate.simulation.trace import Floats, TraceChunk

# Latencies are counted in bins of 1 %, from 1 ms up.
BIN = math.log(1.01)
LEAST_S = 0.001
BINS = 1800
WINDOW_S = 60.0
# The fractional parts of its multiples are spread evenly between 0 and 1, for any number of them.
GOLDEN = (math.sqrt(5) - 1) / 2

# Rows of the replica table, indices of the counters, and rows of the backfill jobs.
FREE, READY, SIZE, WORK = range(4)
STARTED, BUSY, LOST, ON_TIME, WORST, DONE, SAMPLED, DEFERRED, BACKFILLED, BACKFILLING, EXPIRED, NEVER = range(12)
CAME, FROM, NEEDS, MISSES = range(4)


class Elastic(msgspec.Struct, frozen=True, kw_only=True):
    """How a segment's work degrades. The first of each is full quality.

    costs: of each level, as a share of a segment's whole work. analysed: its share of the wanted frames. tuning: the
    ages at which the levels begin.
    """

    costs: tuple[float, ...] = tuple(level.cost for level in LEVELS)
    analysed: tuple[float, ...] = tuple(level.fps(5.0, 1.0) / 5.0 for level in LEVELS)
    tuning: brownout.BrownoutTuning = brownout.TUNING


RIGID = Elastic(costs=(1.0,), analysed=(1.0,), tuning=brownout.BrownoutTuning(begins=()))

# The machine code of `_advance` inlines this one: after a change of `choose`, delete numba's files in __pycache__.
_choose = compiled(brownout.choose)


class Rules(NamedTuple):
    """The constant part. batch: the maximum segments of a batch. max_age, target: seconds. begins, spread: as in
    `choose`. costs, sampled: of each level.
    """

    batch: int
    max_age: float
    target: float
    begins: Floats
    spread: float
    costs: Floats
    sampled: Floats


class State(NamedTuple):
    """The variable part. table: a column per replica. jobs: a column per segment to backfill; places: of the first that
    is not started, and behind the last. bins, windows, counters: the counts; a column of `windows` has a minute's
    segments that were in time, all of them, and the deferred ones.
    """

    table: Floats
    jobs: Floats
    places: NDArray[np.int64]
    bins: NDArray[np.int64]
    windows: NDArray[np.int64]
    counters: Floats


@compiled
def _advance(until, arrived, work, head, seen, offset, n, rules, state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Start every batch, and every backfill job, that starts before `until`; return the new head, and the number of
    segments that arrived before it.

    seen: that number before. offset: the number of segments before the first of `arrived`.
    """
    table, jobs, places = state.table, state.jobs, state.places
    total = len(arrived)
    while n > 0:
        i = 0
        for j in range(1, n):
            if table[FREE, j] < table[FREE, i]:
                i = j
        comes = arrived[head] if head < total else np.inf
        if comes > table[FREE, i] and _backfill(i, min(until, comes), rules, state):
            continue
        start = max(table[FREE, i], comes)
        if start >= until:
            break
        head = _begin(i, start, arrived, work, head, offset, rules, state)
    while head < total and arrived[head] < until - rules.max_age:
        head = _lose(arrived, head, state)
    while places[0] < places[1] and jobs[CAME, places[0]] < until - rules.max_age:
        _expire(state)
    while seen < total and arrived[seen] < until:
        seen += 1
    return head, seen


@compiled
def _arrived_by(until, arrived, seen):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return the number of segments that arrive by `until`; `seen` of them have."""
    while seen < len(arrived) and arrived[seen] <= until:
        seen += 1
    return seen


@compiled
def _lose(arrived, head, state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Lose the oldest segment, which has waited too long; return the new head."""
    state.counters[LOST] += 1
    state.windows[1, int(arrived[head] / WINDOW_S)] += 1
    return head + 1


@compiled
def _begin(i, start, arrived, work, head, offset, rules, state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Give a free replica a batch of the waiting segments that are not lost; return the new head."""
    table, jobs, places, counters = state.table, state.jobs, state.places, state.counters
    while head < len(arrived) and arrived[head] <= start and start - arrived[head] > rules.max_age:
        head = _lose(arrived, head, state)
    end, behind, done = start, head, 0.0
    first = places[1]
    while behind < len(arrived) and behind - head < rules.batch and arrived[behind] <= start:
        place = (offset + behind) * GOLDEN % 1.0
        level = _choose((end - arrived[behind]) / rules.target, place, rules.begins, rules.spread)
        if level > 0:
            jobs[CAME, places[1]] = arrived[behind]
            jobs[NEEDS, places[1]] = work[behind]
            jobs[MISSES, places[1]] = 1 - rules.sampled[level]
            state.windows[2, int(arrived[behind] / WINDOW_S)] += 1
            places[1] += 1
        end += work[behind] * rules.costs[level]
        done += rules.costs[level]
        counters[SAMPLED] += rules.sampled[level]
        behind += 1
    if behind == head:
        return head
    jobs[FROM, first : places[1]] = end
    for k in range(head, behind):
        _count(arrived[k], end - arrived[k], rules.target, state)
    counters[STARTED] += behind - head
    counters[DONE] += done
    counters[BUSY] += end - start
    counters[DEFERRED] += places[1] - first
    table[FREE, i], table[SIZE, i], table[WORK, i] = end, behind - head, done
    return behind


@compiled
def _count(arrived, latency, target, state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count a segment that is answered after that time."""
    window = int(arrived / WINDOW_S)
    state.windows[1, window] += 1
    if latency <= target:
        state.windows[0, window] += 1
        state.counters[ON_TIME] += 1
    state.counters[WORST] = max(state.counters[WORST], latency)
    state.bins[min(BINS - 1, max(0, int(math.log(max(latency, LEAST_S) / LEAST_S) / BIN)))] += 1


@compiled
def _backfill(i, before, rules, state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Start a backfill job on a free replica before that time; return whether one started."""
    table, jobs, places, counters = state.table, state.jobs, state.places, state.counters
    while places[0] < places[1]:
        job = places[0]
        at = max(table[FREE, i], jobs[FROM, job])
        if at >= before:
            return False
        if at - jobs[CAME, job] > rules.max_age:
            _expire(state)
            continue
        places[0] += 1
        counters[BACKFILLED] += 1
        counters[BACKFILLING] += jobs[NEEDS, job]
        table[FREE, i], table[SIZE, i], table[WORK, i] = at + jobs[NEEDS, job], 0, 0
        return True
    return False


@compiled
def _expire(state):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Lose the oldest backfill job: its video has expired, and its deferred frames are never analysed."""
    state.counters[EXPIRED] += 1
    state.counters[NEVER] += state.jobs[MISSES, state.places[0]]
    state.places[0] += 1


@compiled
def _snapshot(now, table, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """See Snapshot."""
    ready = 0
    segments = 0.0
    done = 0.0
    ahead = 0.0
    later = 0.0
    for i in range(n):
        if table[READY, i] <= now:
            ready += 1
            if table[FREE, i] > now and table[SIZE, i] > 0:
                segments += table[SIZE, i]
                done += table[WORK, i]
                ahead += table[FREE, i] - now
            elif table[FREE, i] > now:
                later += table[FREE, i] - now
    return ready, segments, done, ahead, later


class Snapshot(NamedTuple):
    """The work in flight. ready: replicas. segments: their number, and work: their sum, 1 for a fully analysed one.
    ahead_s: the sum of the seconds until they are done. backfilling_s: the same of backfill jobs.
    """

    ready: int
    segments: float
    work: float
    ahead_s: float
    backfilling_s: float


class Totals(NamedTuple):
    """The counts of segments. started: taken by a replica. busy_s: seconds of started work, to its end.

    lost: waited too long. on_time: answered within the target. worst_s: the longest latency. work: that started, 1 for
    a fully analysed segment. sampled: the same for the analysed frames. deferred: partially analysed segments;
    backfilled: of these, those started again, and backfilling_s: their seconds; expired: those that waited too long.
    never: the deferred frames of the expired ones, in the unit of `sampled`.
    """

    started: float
    busy_s: float
    lost: int
    on_time: int
    worst_s: float
    work: float
    sampled: float
    deferred: int
    backfilled: int
    backfilling_s: float
    expired: int
    never: float


class SimulatedQueue:
    """Segments that wait, and replicas, the newest last. Times are seconds from the trace's start."""

    def __init__(
        self,
        chunks: Iterator[TraceChunk],
        duration_s: float,
        *,
        batch: int,
        max_age_s: float,
        target_s: float,
        elastic: Elastic = RIGID,
    ):
        self._chunks = chunks
        self._rules = Rules(
            batch,
            max_age_s,
            target_s,
            np.array(elastic.tuning.begins, dtype=np.float64),
            elastic.tuning.spread,
            np.array(elastic.costs),
            np.array(elastic.analysed),
        )
        self._can_degrade = bool(elastic.tuning.begins)
        self._arrived: Floats = np.empty(0)
        self._work: Floats = np.empty(0)
        self._head = 0
        self._seen = 0  # how many of the loaded segments have arrived
        self._offset = 0  # how many segments came before the loaded ones
        self._exhausted = False
        self._table = np.zeros((4, 64))
        self._n = 0
        # (end, segments, work) in flight at draining replicas
        self._draining: list[tuple[float, float, float]] = []
        self._counters = np.zeros(NEVER + 1)
        self._jobs = np.zeros((4, 1024))
        self._places = np.zeros(2, dtype=np.int64)
        self.bins = np.zeros(BINS, dtype=np.int64)
        self.windows = np.zeros((3, int(duration_s / WINDOW_S) + 2), dtype=np.int64)
        self.now = 0.0
        self._load(0.0)

    # ---- time

    def advance(self, until: float) -> None:
        """Advance the simulation to `until`."""
        self._load(until)
        if self._can_degrade:
            self._make_room(until)
        state = State(self._table, self._jobs, self._places, self.bins, self.windows, self._counters)
        self._head, self._seen = _advance(
            until, self._arrived, self._work, self._head, self._seen, self._offset, self._n, self._rules, state
        )
        self.now = until
        if self._draining:
            self._draining = [d for d in self._draining if d[0] > until]

    def _make_room(self, until: float) -> None:
        """Make room for jobs: each segment that may start by then may become one."""
        most = _arrived_by(until, self._arrived, self._seen) - self._head
        first, behind = self._places.tolist()
        if behind + most > self._jobs.shape[1]:
            waiting = self._jobs[:, first:behind]
            self._jobs = np.zeros((4, 2 * (behind - first + most)))
            self._jobs[:, : behind - first] = waiting
            self._places[:] = 0, behind - first

    def _load(self, until: float) -> None:
        """Load every arrival before `until`, and one beyond it."""
        while not self._exhausted and (not len(self._arrived) or self._arrived[-1] <= until):
            chunk = next(self._chunks, None)
            if chunk is None:
                self._exhausted = True
                return
            self._arrived = np.concatenate((self._arrived[self._head :], chunk.arrived))
            self._work = np.concatenate((self._work[self._head :], chunk.work))
            self._offset += self._head
            self._seen -= self._head
            self._head = 0

    @property
    def next_arrival(self) -> float:
        """When the next segment comes; inf after the last."""
        return float(self._arrived[self._seen]) if self._seen < len(self._arrived) else math.inf

    # ---- what a scaler can see

    @property
    def arrived(self) -> int:
        return self._offset + self._seen

    @property
    def pending(self) -> int:
        """The waiting segments."""
        return self._seen - self._head

    def snapshot(self) -> Snapshot:
        """Return the work in flight."""
        seen = Snapshot(*_snapshot(self.now, self._table, self._n))
        for end, size, work in self._draining:
            later = seen.backfilling_s + (0.0 if size else end - self.now)
            ahead = seen.ahead_s + (end - self.now if size else 0.0)
            seen = Snapshot(seen.ready, seen.segments + size, seen.work + work, ahead, later)
        return seen

    @property
    def deferred_waiting(self) -> int:
        """The backfill jobs that have not started."""
        return int(self._places[1] - self._places[0])

    @property
    def totals(self) -> Totals:
        """The counts up to now."""
        c = self._counters.tolist()
        return Totals(
            started=c[STARTED],
            busy_s=c[BUSY],
            lost=int(c[LOST]),
            on_time=int(c[ON_TIME]),
            worst_s=c[WORST],
            work=c[DONE],
            sampled=c[SAMPLED],
            deferred=int(c[DEFERRED]),
            backfilled=int(c[BACKFILLED]),
            backfilling_s=c[BACKFILLING],
            expired=int(c[EXPIRED]),
            never=c[NEVER],
        )

    # ---- replicas

    @property
    def replicas(self) -> int:
        return self._n

    def start(self, count: int, cold_start_s: float) -> None:
        """Request replicas, which are ready after their cold start."""
        while self._n + count > self._table.shape[1]:
            self._table = np.concatenate((self._table, np.zeros_like(self._table)), axis=1)
        new = slice(self._n, self._n + count)
        self._table[FREE, new] = self._table[READY, new] = self.now + cold_start_s
        self._table[SIZE:, new] = 0
        self._n += count

    def stop(self, count: int) -> float:
        """Stop the newest replicas, each at the end of its batch; returns the sum of the seconds until then."""
        after = 0.0
        for i in range(self._n - count, self._n):
            if self._table[READY, i] <= self.now < self._table[FREE, i]:
                end, _, size, work = self._table[:, i].tolist()
                self._draining.append((end, size, work))
                after += end - self.now
        self._n -= count
        return after
