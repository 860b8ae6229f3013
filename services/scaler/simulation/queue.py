"""The queue and its replicas: a discrete-event simulation between two decisions. It is compiled where numba is there.

A free replica takes up to `batch` of the segments that wait, the oldest first, and is busy for the sum of their work. A
real worker holds more than that, but naks it within milliseconds when it is told to go (measured: 1.3 ms, redelivered
within 25 ms). So here it never leaves the queue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from services.scaler.simulation.compiled import compiled
from services.scaler.simulation.trace import Floats, TraceChunk

# Latencies are kept in bins of 1 %, from 1 ms up.
BIN = math.log(1.01)
LEAST_S = 0.001
BINS = 1800
WINDOW_S = 60.0

# These are rows of the replica table, and places in the counters.
FREE, READY, SIZE = 0, 1, 2
STARTED, BUSY, LOST, ON_TIME, WORST = 0, 1, 2, 3, 4


@compiled
def _advance(until, arrived, work, head, table, n, batch, max_age, target, bins, windows, counters):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Start every batch that starts before `until`; returns the new head."""
    total = len(arrived)
    while head < total and n > 0:
        i = 0
        for j in range(1, n):
            if table[FREE, j] < table[FREE, i]:
                i = j
        start = max(table[FREE, i], arrived[head])
        if start >= until:
            break
        end = start
        size = 0
        while head + size < total and size < batch and arrived[head + size] <= start:
            if start - arrived[head + size] > max_age:
                if size:
                    break
                counters[LOST] += 1
                windows[1, int(arrived[head] / WINDOW_S)] += 1
                head += 1
                continue
            end += work[head + size]
            size += 1
        if size == 0:
            continue
        for k in range(head, head + size):
            latency = end - arrived[k]
            window = int(arrived[k] / WINDOW_S)
            windows[1, window] += 1
            if latency <= target:
                windows[0, window] += 1
                counters[ON_TIME] += 1
            counters[WORST] = max(counters[WORST], latency)
            bins[min(BINS - 1, max(0, int(math.log(max(latency, LEAST_S) / LEAST_S) / BIN)))] += 1
        head += size
        counters[STARTED] += size
        counters[BUSY] += end - start
        table[FREE, i] = end
        table[SIZE, i] = size
    while head < total and arrived[head] < until - max_age:
        counters[LOST] += 1
        windows[1, int(arrived[head] / WINDOW_S)] += 1
        head += 1
    return head


@compiled
def _snapshot(now, table, n):  # type: ignore[no-untyped-def]  # pragma: no cover
    """(ready, working, segments in work, seconds of work that lie ahead)"""
    ready = 0
    working = 0
    held = 0.0
    ahead = 0.0
    for i in range(n):
        if table[READY, i] <= now:
            ready += 1
            if table[FREE, i] > now:
                working += 1
                held += table[SIZE, i]
                ahead += table[FREE, i] - now
    return ready, working, held, ahead


class Totals(NamedTuple):
    """What was counted of segments. started: taken by a replica. busy_s: seconds of work begun, to its end.

    lost: waited too long. on_time: answered within the target. worst_s: the longest latency.
    """

    started: float
    busy_s: float
    lost: int
    on_time: int
    worst_s: float


class SimulatedQueue:
    """Segments that wait, and replicas, the newest last. Times are seconds from the trace's start."""

    def __init__(
        self, chunks: Iterator[TraceChunk], duration_s: float, *, batch: int, max_age_s: float, target_s: float
    ):
        self._chunks = chunks
        self._batch = batch
        self._max_age = max_age_s
        self._target = target_s
        self._arrived: Floats = np.empty(0)
        self._work: Floats = np.empty(0)
        self._head = 0
        self._seen = 0  # how many of the loaded segments have arrived
        self._gone = 0  # how many segments came before the loaded ones
        self._exhausted = False
        self._table = np.zeros((3, 64))
        self._n = 0
        self._draining: list[tuple[float, float]] = []  # (end, segments) of batches whose replica was told to go
        self._counters = np.zeros(5)
        self.bins = np.zeros(BINS, dtype=np.int64)
        self.windows = np.zeros((2, int(duration_s / WINDOW_S) + 2), dtype=np.int64)
        self.now = 0.0
        self._load(0.0)

    # ---- time

    def advance(self, until: float) -> None:
        """Go on to `until`."""
        self._load(until)
        self._head = _advance(
            until,
            self._arrived,
            self._work,
            self._head,
            self._table,
            self._n,
            self._batch,
            self._max_age,
            self._target,
            self.bins,
            self.windows,
            self._counters,
        )
        self.now = until
        self._seen += int(np.searchsorted(self._arrived[self._seen :], until, side="left"))
        if self._draining:
            self._draining = [d for d in self._draining if d[0] > until]

    def _load(self, until: float) -> None:
        """Load every arrival before `until`, and one beyond it."""
        while not self._exhausted and (not len(self._arrived) or self._arrived[-1] <= until):
            chunk = next(self._chunks, None)
            if chunk is None:
                self._exhausted = True
                return
            self._arrived = np.concatenate((self._arrived[self._head :], chunk.arrived))
            self._work = np.concatenate((self._work[self._head :], chunk.work))
            self._gone += self._head
            self._seen -= self._head
            self._head = 0

    @property
    def next_arrival(self) -> float:
        """When the next segment comes; inf after the last."""
        return float(self._arrived[self._seen]) if self._seen < len(self._arrived) else math.inf

    # ---- what a scaler can see

    @property
    def arrived(self) -> int:
        return self._gone + self._seen

    @property
    def pending(self) -> int:
        """Segments that wait."""
        return self._seen - self._head

    def snapshot(self) -> tuple[int, int, float, float]:
        """(replicas ready, replicas busy, segments in work, the sum of the seconds until each of these is done)."""
        ready, working, held, ahead = _snapshot(self.now, self._table, self._n)
        for end, size in self._draining:
            held += size
            ahead += end - self.now
        return ready, working, held, ahead

    @property
    def totals(self) -> Totals:
        """What was counted up to now."""
        started, busy_s, lost, on_time, worst_s = self._counters.tolist()
        return Totals(started, busy_s, int(lost), int(on_time), worst_s)

    @property
    def lost(self) -> int:
        return int(self._counters[LOST])

    # ---- replicas

    @property
    def replicas(self) -> int:
        return self._n

    def start(self, count: int, cold_start_s: float) -> None:
        """Ask for replicas, which are ready after their cold start."""
        while self._n + count > self._table.shape[1]:
            self._table = np.concatenate((self._table, np.zeros_like(self._table)), axis=1)
        new = slice(self._n, self._n + count)
        self._table[FREE, new] = self._table[READY, new] = self.now + cold_start_s
        self._table[SIZE, new] = 0
        self._n += count

    def stop(self, count: int) -> float:
        """Stop the newest replicas, each at the end of its batch; returns the sum of the seconds until then."""
        after = 0.0
        for i in range(self._n - count, self._n):
            if self._table[READY, i] <= self.now < self._table[FREE, i]:
                self._draining.append((float(self._table[FREE, i]), float(self._table[SIZE, i])))
                after += float(self._table[FREE, i]) - self.now
        self._n -= count
        return after
