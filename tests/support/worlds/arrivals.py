"""Arrivals of segments in any order, and what leaves the order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from services.analytics.camera.order import Order

REORDER_S = 3.0


class Arrival(NamedTuple):
    at: float
    epoch: str
    n: int
    seq: int
    start: float = 0.0
    # Which of those that are the same segment.
    copy: str = ""

    @property
    def name(self) -> str:
        return f"{self.epoch}{self.n}{self.copy}"


class Watched(Order[str]):
    """One that fails where `due` would never come to an end."""

    calls = 0

    def deadline(self) -> float | None:
        self.calls += 1
        assert self.calls < 10_000
        return super().deadline()


def push(order: Order[str], a: Arrival, *, again: bool = False) -> list[str]:
    return order.push(a.epoch, a.n, seq=a.seq, at=a.at, start=a.start, item=a.name, is_reread=again)


def play(order: Order[str], arrivals: Sequence[Arrival]) -> list[str]:
    """Return the segments in the order in which they come out; each deadline is met at its own time."""
    out = []
    for a in arrivals:
        out += due(order, a.at)
        out += push(order, a)
    return out


def due(order: Order[str], until: float) -> list[str]:
    """Pass all deadlines until then: at each, at least one segment comes out or is late."""
    out = []
    while (deadline := order.deadline()) is not None and deadline <= until:
        late = order.late
        given_up = order.due(deadline)
        assert given_up or order.late > late
        out += given_up
    return out


def whole(arrivals: Sequence[Arrival]) -> tuple[list[str], Order[str]]:
    order = Watched(REORDER_S)
    out = play(order, arrivals) + due(order, float("inf"))
    assert order.waiting() == [] and order.deadline() is None
    return out, order


def row(epoch: str, *numbers: int, at: float = 0.0, seq: int = 1) -> list[Arrival]:
    """One a second, in the order given; sequences by their number."""
    return [Arrival(at + i, epoch, n, seq + n) for i, n in enumerate(numbers)]


class Scene(NamedTuple):
    """The stored segments in the order of their epochs, and the arrival time of each."""

    stored: list[Arrival]
    arrivals: list[Arrival]
    missing: int


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """One to four connections, one segment a second; each arrives within `REORDER_S` of being stored, or never does.

    Of the first connection, whose beginning we may have missed, the first segment does arrive.
    """
    stored: list[Arrival] = []
    arrivals: list[Arrival] = []
    missing = time = 0
    for epoch in draw(st.sampled_from(["a", "ab", "ba", "abc", "cabd"])):
        first = draw(st.sampled_from([0, 0, 7])) if not time else 0
        there = draw(st.lists(st.booleans(), min_size=4, max_size=10))
        there[0] = there[0] or not time
        numbers = [first + i for i, present in enumerate(there) if present]
        if numbers:
            missing += numbers[-1] + 1 - first - len(numbers)
        for n in numbers:
            a = Arrival(float(time + n - first), epoch, n, 1 + time + n - first)
            stored.append(a)
            arrivals.append(a._replace(at=a.at + draw(st.integers(0, 29)) / 10))
        time += len(there)
    return Scene(stored, sorted(arrivals, key=lambda a: a.at), missing)


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    """Anything: connections in each other's way, delays of any length, repeats. Each was stored after the one before
    it, or they were by turns.
    """
    steps = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.integers(0, 6)), max_size=40))
    times = itertools.accumulate(s[0] / 10 for s in steps)
    each, then = draw(st.sampled_from([(10, 1), (1, 4)]))
    fast = draw(st.sampled_from([0, 0, 1, 10]))
    return [
        Arrival(at, "abcd"[e], n, 1 + each * e + then * n, start=fast * (each * e + then * n))
        for at, (_, e, n) in zip(times, steps, strict=True)
    ]
