"""The visits of a scene, by time and place. Pure, and deterministic for a seed.

A visit is a walk through the picture, a drive, or a walk with a stop. Visits are single or in groups, at random times,
until their share of the time is as wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bench import footage_vtest as footage
from bench.static_scene.cutouts import Cutout, Walk

# The first seconds have no visits, as when a camera is installed.
CALM_S = 20.0
# Minimum and maximum seconds of a stop.
STOP_S = (12.0, 40.0)


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """The wanted visits. activity: share of the time with a visitor. together: maximum visitors of a group.

    stops, cars: shares of the visits with a stop, and of cars.
    """

    activity: float = 0.05
    together: int = 1
    stops: float = 0.0
    cars: float = 0.0


class Visit(NamedTuple):
    """A visit. begin: its first frame. stop: (frame of the walk, number of frames), or None."""

    begin: int
    walk: Walk
    stop: tuple[int, int] | None

    @property
    def length(self) -> int:
        return len(self.walk.frames) + (self.stop[1] if self.stop else 0)

    def at(self, k: int) -> Cutout | None:
        """Return the visitor's cutout in frame `k`."""
        n = k - self.begin
        if self.stop:
            at, duration = self.stop
            n = n if n < at else max(at, n - duration)
        return self.walk.frames[n] if 0 <= n < len(self.walk.frames) and k - self.begin < self.length else None


def plan(
    wishes: Wishes, frames: int, walks: Sequence[Walk], cars: Sequence[Walk], rng: np.random.Generator
) -> list[Visit]:
    """Return the visits of `frames` frames, in order."""
    parties: list[list[Visit]] = []
    wanted = wishes.activity * frames
    while sum(map(_length, parties)) < wanted:
        parties.append(_party(wishes, walks, cars, rng))
    calm = int(CALM_S * footage.FPS)
    free = max(0, frames - calm - sum(map(_length, parties)))
    shares = rng.dirichlet(np.ones(len(parties) + 1)) * free
    visits: list[Visit] = []
    at = float(calm)
    for party, gap in zip(parties, shares[:-1], strict=True):
        at += gap
        visits += [v._replace(begin=v.begin + int(at)) for v in party]
        at += _length(party)
    return [v for v in visits if v.begin < frames]


def _length(party: Sequence[Visit]) -> int:
    return max(v.begin + v.length for v in party)


def _party(wishes: Wishes, walks: Sequence[Walk], cars: Sequence[Walk], rng: np.random.Generator) -> list[Visit]:
    """Return a group of visits that begin within three seconds."""
    visits = []
    for n in range(int(rng.integers(1, wishes.together + 1))):
        is_car = bool(cars) and rng.random() < wishes.cars
        walk = (cars if is_car else walks)[int(rng.integers(len(cars if is_car else walks)))]
        stop = None
        if rng.random() < wishes.stops:
            length = int(rng.uniform(*STOP_S) * footage.FPS)
            stop = (int(len(walk.frames) * rng.uniform(0.3, 0.7)), length)
        visits.append(Visit(int(rng.integers(0, 30)) if n else 0, walk, stop))
    return visits


def share(visits: Sequence[Visit], frames: int) -> float:
    """Return the share of frames with a visitor."""
    there = np.zeros(frames, bool)
    for visit in visits:
        there[visit.begin : visit.begin + visit.length] = True
    return float(there.mean())
