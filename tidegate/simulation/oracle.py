"""The oracle policy: the minimum replica-seconds with knowledge of the future, by dynamic programming. Pure.

The queue is relaxed to a fluid: work is divisible, and all replicas can serve it together. A started replica costs its
cold start, during which it serves nothing; a ready one costs its time. Initial replicas cost no start, and others may
have been requested before. The state is (replicas ready, backlog), and the backlog contains no work older than the
latency target. The service level permits a late share of the work, which may be dropped at a price. A search finds the
price at which just that share is dropped. By Lagrangian duality, the cost less the price of the allowance is a lower
bound at any price.

Proof of the bound: the fluid can do whatever a policy does to real segments in time, no later and at no higher cost.
Replicas change at multiples of a step, and one that is ready in a part of a step serves in all of it. Such a replica
may be charged for up to two steps more than it lived, so its start is two steps cheaper. Backlog is on a grid on which
a step's service is a whole number of cells. The running total of arriving work is rounded down, so errors do not
accumulate, and the deadline is loosened by a cell in compensation.

The bound is not strict for two reasons. With cold starts under two steps, a policy can spend less if its replicas live
shorter than those. And the allowance is a share of the work, while a service level's is a share of the segments: these
are equal if all segments are equally long.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.simulation.compiled import compiled
from tidegate.simulation.engine import SERVED, Result, Workload
from tidegate.simulation.queue import WINDOW_S
from tidegate.simulation.trace import Floats, Trace

# One replica's work in a step is this many cells of backlog.
CELLS = 4
# The maximum bytes of the table's history, which gives the schedule.
HISTORY_BYTES = 300_000_000
MOST_STEPS = 20_000
PRICES = 6


class _Fluid(msgspec.Struct, frozen=True):
    """A trace on the grid. step: seconds. cell: replica-seconds. work: cells that arrive in each step. deadline: most
    cells that may wait at its end. least: replicas that must run in it. rows, cells: size of the table.
    """

    step: float
    cell: float
    work: NDArray[np.int64]
    deadline: NDArray[np.int64]
    least: NDArray[np.int64]
    rows: int
    cells: int


def run_oracle(trace: Trace, load: Workload, *, initial: int = 0, late: float = 1 - SERVED) -> Result:
    """Return the oracle for `initial` ready replicas, and at most the share `late` of late work.

    The result's replica hours are the lower bound; the rest is from the cheapest schedule found, on the fluid.
    """
    fluid = _fluid(trace, load)
    total = float(fluid.work.sum()) * fluid.cell
    low, high = 0.0, 2.0 * (1 + load.cold_start_s / fluid.step)
    best = (1 - late) * total
    for _ in range(PRICES):
        price = (low + high) / 2
        plan, value = _solve(fluid, load, initial, price)
        best = max(best, value - price * late * total)
        if _replay(fluid, plan)[1].sum() > late * fluid.work.sum():
            low = price
        else:
            high = price
    plan, _ = _solve(fluid, load, initial, high)
    return _result(fluid, load, plan, best)


def _result(fluid: _Fluid, load: Workload, plan: NDArray[np.int64], seconds: float) -> Result:
    backlog, dropped = _replay(fluid, plan)
    served = np.cumsum(fluid.work - dropped)
    edges = (np.arange(len(plan)) + 1) * fluid.step
    # The arrivals up to an edge are done once that much work has been served.
    latency = np.interp(served, served - backlog, edges) - edges
    # On the loosened grid, some work is a step past the target.
    latency = np.clip(latency, 0.0, load.latency_target_s)
    order = np.argsort(latency)
    weight = np.cumsum((fluid.work - dropped)[order])
    changes = np.diff(plan)
    turns = np.sign(changes[changes != 0])
    minutes = np.floor(edges / WINDOW_S - 1e-9).astype(int)
    came, late = np.bincount(minutes, fluid.work), np.bincount(minutes, dropped)
    times = np.flatnonzero(np.diff(plan, prepend=-1))
    return Result(
        name="clairvoyant",
        replica_hours=seconds / 3600,
        busy_hours=float(fluid.work.sum()) * fluid.cell / 3600,
        attainment=1 - float(dropped.sum()) / max(1.0, float(fluid.work.sum())),
        window_attainment=float((late[came > 0] <= (1 - SERVED) * came[came > 0]).mean()) if came.any() else 1.0,
        p50_s=_weighted(latency[order], weight, 0.5),
        p95_s=_weighted(latency[order], weight, 0.95),
        p99_s=_weighted(latency[order], weight, 0.99),
        worst_s=load.latency_target_s,
        lost=0,
        cold_starts=int(plan[0] + changes[changes > 0].sum()),
        reversals_per_hour=float((turns[1:] != turns[:-1]).sum()) / (edges[-1] / 3600),
        peak_replicas=int(plan.max()),
        timeline=[(float(k * fluid.step), int(plan[k])) for k in times],
        windows=1 - np.divide(late, came, out=np.zeros(len(came)), where=came > 0),
    )


def _weighted(values: Floats, weight: Floats, share: float) -> float:
    return float(values[min(len(values) - 1, int(np.searchsorted(weight, share * weight[-1])))])


def _fluid(trace: Trace, load: Workload) -> _Fluid:
    step = max(1.0, min(15.0, load.latency_target_s / 2), trace.duration_s / MOST_STEPS)
    while True:
        fluid = _on_grid(trace, load, step)
        size = len(fluid.work) * fluid.rows * fluid.cells * 4
        if size <= HISTORY_BYTES:
            return fluid
        step *= max(1.3, math.sqrt(size / HISTORY_BYTES))


def _on_grid(trace: Trace, load: Workload, step: float) -> _Fluid:
    steps = math.ceil((trace.duration_s + load.latency_target_s) / step)
    edges = np.arange(steps + 1) * step
    came, due = np.zeros(steps + 1), np.zeros(steps + 1)
    for chunk in trace.chunks(load.service_rate, load.service_cv, load.seed):
        running = np.concatenate(([0.0], np.cumsum(chunk.work)))
        came += running[np.searchsorted(chunk.arrived, edges, side="right")]
        due += running[np.searchsorted(chunk.arrived, edges - load.latency_target_s, side="right")]
    cell = step / CELLS
    work = np.diff(np.floor(came / cell + 1e-9)).astype(np.int64)
    deadline = (np.ceil((came - due)[1:] / cell) + 1).astype(np.int64)
    rows = min(load.max_replicas, max(load.min_replicas, math.ceil(work.max() / CELLS) + 1)) + 1
    # After the trace nothing must run.
    least = np.where(edges[1:] <= trace.duration_s, min(load.min_replicas, rows - 1), 0)
    # All replicas together could not serve more than this in time.
    most = rows * CELLS * (math.ceil(load.latency_target_s / step) + 1)
    return _Fluid(step, cell, work, deadline, least, rows, min(int(deadline.max()), most) + 1)


def _solve(fluid: _Fluid, load: Workload, initial: int, price: float) -> tuple[NDArray[np.int64], float]:
    """Return (replicas ready in each step, cost) of the cheapest schedule. Dropped work costs `price` a second.

    history[k, n, q]: the least cost of n replicas ready after k steps, with at most q cells of backlog. Its recurrence:

    history[k + 1, n, q] = step * n + min(history[k, i, b] + cold * max(0, n - i) + price * d), over all replicas i and
    backlogs b before, and all dropped cells d with b + work[k] - CELLS * n - d <= min(q, deadline[k]). It is infinite
    for n < least[k]. Here `cold` and `price` are those of the arguments below.
    """
    history = np.empty((len(fluid.work) + 1, fluid.rows, fluid.cells), dtype=np.float32)
    args = (
        fluid.work,
        fluid.deadline,
        max(0.0, load.cold_start_s - 2 * fluid.step),
        fluid.step,
        price * fluid.cell,
        fluid.least,
    )
    value = _forward(history, min(max(initial, load.min_replicas), fluid.rows - 1), *args)
    return _backward(history, *args), value


@compiled
def _forward(history, initial, work, deadline, cold, step, price, least):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill history[k, n, q]: the least cost of n replicas ready after k steps, with at most q cells of backlog."""
    steps, rows, cells = history.shape
    cost = np.full((rows, cells), np.inf)
    # The first replicas, too, may be charged for a step that they did not live.
    cost[initial] = -initial * step
    new = np.empty_like(cost)
    history[0] = cost
    for k in range(steps - 1):
        # Starts: each of them costs `cold`.
        for n in range(1, rows):
            for q in range(cells):
                cost[n, q] = min(cost[n, q], cost[n - 1, q] + cold)
        # Stops are free.
        for n in range(rows - 2, -1, -1):
            for q in range(cells):
                cost[n, q] = min(cost[n, q], cost[n + 1, q])
        most = min(deadline[k], cells - 1)
        for n in range(rows):
            # Fewer replicas than the minimum are not allowed.
            if n < least[k]:
                new[n] = np.inf
                continue
            shift = work[k] - CELLS * n
            # Work beyond the table is dropped.
            carry = np.inf
            for q in range(max(0, cells - shift), cells):
                carry = min(carry, cost[n, q] + price * (q + shift - cells + 1))
            # A backlog of q: reached from `q - shift` cells, or by dropping a cell of the backlog of q + 1.
            for q in range(cells - 1, -1, -1):
                before = q - shift
                value = np.inf
                if before >= 0:
                    value = cost[n, min(before, cells - 1)]
                carry = min(value, carry + price)
                new[n, q] = carry
            # Backlog beyond the deadline would be late, so none remains.
            for q in range(most + 1, cells):
                new[n, q] = new[n, most]
            # "At most q cells" includes any smaller backlog.
            for q in range(1, cells):
                new[n, q] = min(new[n, q], new[n, q - 1])
            # Ready replicas cost their time.
            for q in range(cells):
                new[n, q] += step * n
        cost, new = new, cost
        history[k + 1] = cost
    return cost.min()


@compiled
def _backward(history, work, deadline, cold, step, price, least):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Return the replicas ready in each step of a cheapest schedule, read backwards from `history`."""
    steps, rows, cells = history.shape
    plan = np.zeros(steps - 1, dtype=np.int64)
    n, q, least_cost = 0, cells - 1, np.inf
    # The cheapest end, with any backlog.
    for i in range(rows):
        if history[steps - 1, i, cells - 1] < least_cost:
            n, least_cost = i, history[steps - 1, i, cells - 1]
    # Of each step, the state before it that gave the least cost.
    for k in range(steps - 2, -1, -1):
        plan[k] = n
        shift = work[k] - CELLS * n
        q = min(q, deadline[k])
        best, best_n, best_q = np.inf, n, 0
        for before in range(cells):
            dropped = max(0, before + shift - q)
            for i in range(rows):
                value = history[k, i, before] + price * dropped + cold * max(0, n - i)
                if value < best:
                    best, best_n, best_q = value, i, before
        n, q = best_n, best_q
    return plan


def _replay(fluid: _Fluid, plan: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (backlog at the end of each step, work dropped in it), in cells."""
    waiting = 0
    backlog, dropped = np.zeros(len(plan), dtype=np.int64), np.zeros(len(plan), dtype=np.int64)
    steps = zip(fluid.work.tolist(), plan.tolist(), fluid.deadline.tolist(), strict=True)
    for k, (work, n, deadline) in enumerate(steps):
        waiting = max(0, waiting + work - CELLS * n)
        dropped[k] = max(0, waiting - deadline)
        waiting -= int(dropped[k])
        backlog[k] = waiting
    return backlog, dropped
