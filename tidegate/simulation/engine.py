"""Run one policy over one trace: replicas warm up and drain a queue, at a cost."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import active_children, get_context
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.simulation.queue import BIN, LEAST_S, RIGID, WINDOW_S, Elastic, SimulatedQueue
from tidegate.simulation.trace import Floats, Trace

# A minute counts as served if this share of its segments was in time.
SERVED = 0.99
# After the trace, the queue is checked this often until its last segment is done: a policy pays until then.
TAIL_S = 1.0
# The delay until a scaler is notified of the first message on an idle stream.
WAKE_S = 0.1
# A run is held against its bar this often, in simulated seconds, with room for the rounding of a share.
CHECK_S = 900.0
MARGIN = 1e-6


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """The requirements of a trace's segments, and the service for them.

    service_rate: segments a second of one busy replica. service_cv: coefficient of variation of a segment's work.
    latency_target_s: from arrival to result. batch: the maximum segments of a batch. max_age_s: a segment that has
    waited longer is lost. elastic: how its work degrades while capacity is short, None for never. loss_budget,
    defer_limit: of the policy by demand.
    """

    service_rate: float
    service_cv: float = 0.2
    cold_start_s: float = 60.0
    latency_target_s: float = 5.0
    min_replicas: int = 0
    max_replicas: int = 100
    batch: int = 4
    max_age_s: float = 600.0
    seed: int = 1
    elastic: Elastic | None = None
    loss_budget: float = 0.02
    defer_limit: float = 1.0


class ScalerView(msgspec.Struct, frozen=True, kw_only=True):
    """The state that a scaler can see.

    arrived, processed: segments so far. pending, in_flight: segments now. replicas: requested. ready: past their cold
    start. working_s: busy seconds of replicas so far. For degradable work, work: of the processed segments, 1 for a
    fully analysed one; wanted, analysed: wanted and analysed frames of started ones, 1 for all of a segment. Backfill
    jobs are in none of these, but in deferred_ever, deferred_waiting, and backfilling_s (busy seconds). never: deferred
    frames that expired, in the unit of `wanted`.
    """

    arrived: int
    pending: int
    in_flight: int
    replicas: int
    ready: int
    processed: float
    working_s: float
    work: float | None = None
    wanted: float | None = None
    analysed: float | None = None
    backfilling_s: float = 0.0
    deferred_waiting: int = 0
    deferred_ever: int = 0
    never: float = 0.0


class Policy(Protocol):
    """A clock and a rule. next_at: time of the next decision, in seconds. wakes: whether it is notified of a segment on
    an idle queue.
    """

    name: str
    wakes: bool

    @property
    def next_at(self) -> float: ...

    def decide(self, now: float, view: ScalerView) -> int:
        """Return the replicas to run from now on."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's cost, and its service level.

    attainment: share of segments in time. window_attainment: of the minutes with segments, the share in which 99 % of
    them were in time. lost: segments that waited past max_age. cold_starts: replicas started. timeline: (seconds,
    replicas). windows: share in time for each minute, nan without segments. settings: the tuned settings, as text.
    deferred_share: of the wanted frames. deferred: segments with deferred frames; backfilled: those that idle replicas
    fully analysed before max_age; expired: those that none did. The rest waited at the end. never_share: of the wanted
    frames, those never analysed: deferred, and expired. deferred_by_minute: share of each minute's segments that were
    deferred, nan without segments.
    """

    name: str
    replica_hours: float
    busy_hours: float
    attainment: float
    window_attainment: float
    p50_s: float
    p95_s: float
    p99_s: float
    worst_s: float
    lost: int
    cold_starts: int
    reversals_per_hour: float
    peak_replicas: int
    timeline: list[tuple[float, int]]
    windows: Floats
    settings: str = ""
    deferred_share: float = 0.0
    deferred: int = 0
    backfilled: int = 0
    expired: int = 0
    never_share: float = 0.0
    deferred_by_minute: Floats = msgspec.field(default_factory=lambda: np.zeros(0))


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has to reach: at most these replica-hours, and at least this share of minutes."""

    replica_hours: float = math.inf
    window_attainment: float = 0.0


class BarMissed(Exception):
    """A run that can't reach its bar any more."""


def run(policy: Policy, trace: Trace, load: Workload, *, initial: int | None = None, bar: Bar | None = None) -> Result:
    """Simulate to the end of the trace, and further until the queue is empty. Raise BarMissed as soon as it is sure."""
    queue = SimulatedQueue(
        trace.chunks(load.service_rate, load.service_cv, load.seed),
        trace.duration_s,
        batch=load.batch,
        max_age_s=load.max_age_s,
        target_s=load.latency_target_s,
        elastic=load.elastic or RIGID,
    )
    first = load.min_replicas if initial is None else initial
    queue.start(first, 0.0)
    timeline = [(0.0, first)]
    spent = 0.0
    starts = first
    duration_s = trace.duration_s
    horizon = duration_s + load.max_age_s + 2 * load.cold_start_s
    next_check = CHECK_S if bar else math.inf
    now = 0.0
    while now < duration_s or (queue.arrived > queue.totals.lost and _unfinished(queue) and now < horizon):
        at = min(policy.next_at, duration_s if now < duration_s else now + TAIL_S)
        if policy.wakes and queue.replicas == 0 and queue.pending == 0:
            at = min(at, queue.next_arrival + WAKE_S)
        at = max(at, now)
        queue.advance(at)
        spent += queue.replicas * (at - now)
        now = at
        if bar and now >= next_check:
            next_check = now + CHECK_S
            if spent / 3600 > bar.replica_hours or _most_attainment(queue, load) < bar.window_attainment - MARGIN:
                raise BarMissed
        want = min(load.max_replicas, max(load.min_replicas, policy.decide(now, _view(queue, load))))
        have = queue.replicas
        if want > have:
            queue.start(want - have, load.cold_start_s)
            starts += want - have
        elif want < have:
            spent += queue.stop(have - want)
        if want != have:
            timeline.append((now, want))
    # Backfill jobs that remain are neither done nor lost: nothing after the end is charged.
    expired, never = queue.totals.expired, queue.totals.never
    queue.stop(queue.replicas)
    queue.advance(horizon + load.max_age_s)
    return _result(policy.name, queue, spent, starts, timeline, now, expired, never)


def _most_attainment(queue: SimulatedQueue, load: Workload) -> float:
    """Return the upper bound of `window_attainment`: segments that may no longer wait are all counted."""
    minutes = max(0, int((queue.now - load.max_age_s) / WINDOW_S))
    missed = _shares(queue.windows[:, :minutes]) < SERVED
    return 1 - float(missed.sum()) / queue.windows.shape[1]


def _shares(windows: NDArray[np.int64]) -> Floats:
    """Return each minute's share of segments in time, nan without segments."""
    in_time, all_ = windows[0], windows[1]
    shares: Floats = np.divide(in_time, all_, out=np.full(len(all_), np.nan), where=all_ > 0)
    return shares


def _unfinished(queue: SimulatedQueue) -> bool:
    return queue.pending > 0 or queue.snapshot().segments > 0


def _view(queue: SimulatedQueue, load: Workload) -> ScalerView:
    seen = queue.snapshot()
    totals = queue.totals
    processed = totals.started - seen.segments
    # Workers report their frames from the first processed segment on.
    is_reported = load.elastic is not None and processed > 0
    return ScalerView(
        arrived=queue.arrived,
        pending=queue.pending,
        in_flight=int(seen.segments),
        replicas=queue.replicas,
        ready=seen.ready,
        processed=processed,
        working_s=totals.busy_s - seen.ahead_s,
        work=totals.work - seen.work if is_reported else None,
        wanted=totals.started if is_reported else None,
        analysed=totals.sampled if is_reported else None,
        backfilling_s=totals.backfilling_s - seen.backfilling_s,
        deferred_waiting=queue.deferred_waiting,
        deferred_ever=totals.deferred,
        never=totals.never,
    )


def _result(
    name: str,
    queue: SimulatedQueue,
    spent: float,
    starts: int,
    timeline: list[tuple[float, int]],
    end: float,
    expired: int,
    never: float,
) -> Result:
    _, all_, deferred = queue.windows
    totals = queue.totals
    shares = _shares(queue.windows)
    valid = shares[~np.isnan(shares)]
    total = max(1, int(all_.sum()))
    return Result(
        name=name,
        replica_hours=spent / 3600,
        busy_hours=totals.busy_s / 3600,
        attainment=totals.on_time / total,
        window_attainment=float((valid >= SERVED).mean()) if len(valid) else 1.0,
        p50_s=_quantile(queue, 0.5),
        p95_s=_quantile(queue, 0.95),
        p99_s=_quantile(queue, 0.99),
        worst_s=totals.worst_s,
        lost=totals.lost,
        cold_starts=starts,
        reversals_per_hour=_reversals(timeline) / (end / 3600) if end else 0.0,
        peak_replicas=max(n for _, n in timeline),
        timeline=timeline,
        windows=shares,
        deferred_share=1 - totals.sampled / totals.started if totals.started else 0.0,
        deferred=totals.deferred,
        backfilled=totals.backfilled,
        expired=expired,
        never_share=never / totals.started if totals.started else 0.0,
        deferred_by_minute=np.divide(deferred, all_, out=np.full(len(all_), np.nan), where=all_ > 0),
    )


def _quantile(queue: SimulatedQueue, q: float) -> float:
    """Return a quantile of the latency of processed segments, to 1 %."""
    total = queue.bins.sum()
    if not total:
        return math.nan
    place = int(np.searchsorted(np.cumsum(queue.bins), q * total))
    return float(LEAST_S * math.exp((place + 0.5) * BIN))


def _reversals(timeline: list[tuple[float, int]]) -> int:
    """Return the number of changes of direction of the replica count."""
    counts = [n for _, n in timeline]
    steps = [b > a for a, b in pairwise(counts) if a != b]
    return sum(a != b for a, b in pairwise(steps))


@contextmanager
def worker_pool() -> Iterator[ProcessPoolExecutor]:
    """Yield one process per core; an exception ends them within their work.

    They are forked from a clean process: a fork of a program with threads or a model would wait for ever on a lock that
    these hold.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["tidegate.simulation.engine"])
    others = set(active_children())
    # Ctrl-C reaches the whole group of processes; the parent alone answers it.
    pool = ProcessPoolExecutor(mp_context=context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - others:
            process.kill()
        raise
    pool.shutdown()
