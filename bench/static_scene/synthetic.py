"""Synthetic scenes, one sort of disturbance each: small pictures and a detector with known misses. Deterministic.

    for case in CASES:
        film, truth = render(case, minutes=5)       # truth: the visitor's box by segment and frame

A picture has four pixels per block and side, so that rain is thinner than a block. No encoder is involved.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.static_scene.films import FPS, AnalysedSegment, Film
from shared.contract.events import Box, DetectedObject
from shared.static_scene.picture import SHAPE

PIXELS = 4
_HEIGHT, _WIDTH = SHAPE[0] * PIXELS, SHAPE[1] * PIXELS
_FRAMES = round(FPS)

Truth: TypeAlias = list[list[Box | None]]
_Picture: TypeAlias = NDArray[np.float32]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A scene. sort: a key of `_SORTS`. amount: of the disturbance, in the unit of its sort.

    size: of visitors in blocks (width, height). contrast: of visitors, in levels. walk_s, stays: seconds that each
    walks, and stands still. misses: share of full inferences that miss the visitor, never two running. ground:
    deviation of the ground's patches, in levels.
    """

    sort: str
    seed: int
    amount: float = 0.0
    size: tuple[int, int] = (3, 7)
    contrast: float = 40.0
    stays: float = 0.0
    misses: float = 0.0
    ground: float = 30.0
    visits: int = 4
    walk_s: float = 4.0


class _Visit(msgspec.Struct, frozen=True):
    """begin, end: frames. A visitor enters at `x`, walks by `step` pixels a frame, and stands between two frames."""

    begin: int
    end: int
    x: float
    y: int
    step: float
    stop: tuple[int, int]

    def left(self, k: int) -> float:
        stood = min(max(0, k - self.stop[0]), self.stop[1] - self.stop[0])
        return self.x + self.step * (k - self.begin - stood)


def render(case: Case, minutes: float) -> tuple[Film, Truth]:
    """Return the film of a case, and the true box of its visitor in each frame."""
    count = int(minutes * 60) * _FRAMES
    rng = np.random.default_rng((case.seed, sum(map(ord, case.sort))))
    visits = _plan(case, count, rng)
    disturb = _SORTS[case.sort](case, rng)
    ground = _ground(case, rng)
    segments, small, truth = [], [], []
    missed = False
    for n in range(count // _FRAMES):
        missed = not missed and bool(rng.random() < case.misses)
        boxes, pictures = [], []
        for k in range(n * _FRAMES, (n + 1) * _FRAMES):
            picture = ground.copy()
            boxes.append(_put(picture, case, visits, k))
            disturb(picture, k)
            pictures.append(_small(picture, rng))
        objects = [[DetectedObject(label="person", score=0.9, box=box)] if box and not missed else [] for box in boxes]
        frames = [(k / FPS, o) for k, o in enumerate(objects)]
        segments.append(AnalysedSegment(n, True, float(n), 1.0, 0, frames))
        small.append(np.stack(pictures))
        truth.append(boxes)
    return Film(segments, small, [], count), truth


def backdrop(case: Case) -> Callable[[float], _Picture]:
    """Return the picture without visitors, by the frame's number at FPS."""
    rng = np.random.default_rng((case.seed, sum(map(ord, case.sort))))
    disturb, ground = _SORTS[case.sort](case, rng), _ground(case, rng)

    def at(k: float) -> _Picture:
        picture = ground.copy()
        disturb(picture, k)
        return picture

    return at


def _plan(case: Case, count: int, rng: np.random.Generator) -> list[_Visit]:
    """Return visits at random times after half a minute, one at a time."""
    slots = np.linspace(30 * FPS, count, case.visits + 1)
    visits = []
    for a, b in pairwise(slots):
        walk, stop = int(case.walk_s * FPS), int(case.stays * FPS)
        begin = int(a + rng.uniform(0, max(1.0, b - a - walk - stop)))
        # A step of 0.2 s is a tenth of the visitor's height: 1.5 m a second.
        step = case.size[1] * PIXELS * 0.15 * rng.choice([-1, 1])
        middle = rng.uniform(0.35, 0.65) * _WIDTH
        y = int(rng.uniform(0.3, 0.9) * _HEIGHT - case.size[1] * PIXELS)
        at = begin + walk // 2
        visits.append(
            _Visit(begin, begin + walk + stop, middle - step * walk / 2, max(0, y), float(step), (at, at + stop))
        )
    return visits


def _put(picture: _Picture, case: Case, visits: list[_Visit], k: int) -> Box | None:
    visit = next((v for v in visits if v.begin <= k < v.end), None)
    if visit is None:
        return None
    width, height = case.size[0] * PIXELS, case.size[1] * PIXELS
    left = round(visit.left(k))
    x1, x2, y1, y2 = max(0, left), min(_WIDTH, left + width), visit.y, min(_HEIGHT, visit.y + height)
    if x2 - x1 < width // 2:
        return None
    picture[y1:y2, x1:x2] += case.contrast
    return x1 / _WIDTH, y1 / _HEIGHT, x2 / _WIDTH, y2 / _HEIGHT


def _ground(case: Case, rng: np.random.Generator) -> _Picture:
    """Return patches of 4 blocks, and fine texture."""
    side = 4 * PIXELS
    rough = rng.normal(100, case.ground, (_HEIGHT // side, _WIDTH // side))
    fine = rng.normal(0, case.ground / 4, (_HEIGHT, _WIDTH))
    return np.asarray(np.kron(rough, np.ones((side, side))) + fine, np.float32).clip(20, 200)


def _small(picture: _Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    means = picture.reshape(SHAPE[0], PIXELS, SHAPE[1], PIXELS).mean(axis=(1, 3))
    return np.rint(means + rng.normal(0, 0.8, SHAPE)).clip(0, 255).astype(np.uint8)


_Disturb: TypeAlias = Callable[[_Picture, float], None]


def _none(case: Case, rng: np.random.Generator) -> _Disturb:
    return lambda picture, k: None


def _shade(case: Case, rng: np.random.Generator) -> _Disturb:
    """Shade of leaves that the wind moves. amount: share of the picture's width that it covers. It takes 35 % of the
    light, in spots of some blocks.
    """
    spots = np.kron(rng.random((_HEIGHT // 12, _WIDTH // 6)) < 0.5, np.ones((12, 12)))[:, : 2 * _WIDTH]
    width = int(case.amount * _WIDTH)
    phase = rng.uniform(0, 6.28, 4)

    def disturb(picture: _Picture, k: float) -> None:
        t = k / FPS
        gust = 0.55 + 0.45 * np.sin(t / 9 + phase[0])
        dx = int(20 * gust * np.sin(1.9 * t + phase[1]) + 8 * np.sin(4.3 * t + phase[2])) + 40
        dy = int(6 * gust * np.sin(2.7 * t + phase[3]))
        moved = np.roll(spots, dy, axis=0)[:, dx : dx + width]
        picture[:, :width] *= (1 - 0.35 * moved).astype(np.float32)

    return disturb


def _rain(case: Case, rng: np.random.Generator) -> _Disturb:
    """Streaks of a pixel's width. amount: their number per frame."""

    def disturb(picture: _Picture, k: float) -> None:
        for _ in range(rng.poisson(case.amount)):
            x, y, length = rng.integers(_WIDTH), rng.integers(_HEIGHT), rng.integers(8, 28)
            picture[y : y + length, x : x + 1 + int(rng.random() < 0.2)] += rng.uniform(30, 90)

    return disturb


def _snow(case: Case, rng: np.random.Generator) -> _Disturb:
    """Flakes that fall and drift; near ones are larger and faster. amount: their number."""
    count = int(case.amount)
    near = rng.uniform(0, 1, count) ** 2
    x, y = rng.uniform(0, _WIDTH, count), rng.uniform(0, _HEIGHT, count)
    drift = rng.normal(0, 3, count)

    def disturb(picture: _Picture, k: float) -> None:
        for n in range(count):
            # 0.2 s: a distant flake falls by 3 blocks, a near one by 20.
            left, top = int(x[n] + k * drift[n]) % _WIDTH, int(y[n] + k * (12 + 68 * near[n])) % _HEIGHT
            side = 1 + round(4 * near[n])
            picture[top : top + side, left : left + side] += 70

    return disturb


def _sparkle(case: Case, rng: np.random.Generator) -> _Disturb:
    """Glints on water, in a region of 20x12 blocks. amount: their number per frame."""
    left, top = int(rng.uniform(0, 0.6) * _WIDTH), int(rng.uniform(0.3, 0.7) * _HEIGHT)

    def disturb(picture: _Picture, k: float) -> None:
        for _ in range(rng.poisson(case.amount)):
            x, y = left + rng.integers(20 * PIXELS), top + rng.integers(12 * PIXELS)
            picture[y : y + 3, x : x + 3] += rng.uniform(40, 150)

    return disturb


def _screen(case: Case, rng: np.random.Generator) -> _Disturb:
    """A screen that changes its content every second or two. amount: its width in blocks, of 4:3."""
    width = int(case.amount) * PIXELS
    height = int(case.amount * 0.75) * PIXELS
    left, top = int(rng.uniform(0.05, 0.7) * _WIDTH), int(rng.uniform(0.05, 0.3) * _HEIGHT)
    state: dict[str, Any] = {"until": -1, "content": None}

    def disturb(picture: _Picture, k: float) -> None:
        if k >= state["until"]:
            rough = rng.uniform(10, 245) + rng.normal(0, 40, (-(-height // 8), -(-width // 8)))
            state["content"] = np.kron(rough, np.ones((8, 8)))[:height, :width].clip(0, 255)
            state["until"] = k + int(rng.integers(3, 12))
        picture[top : top + height, left : left + width] = state["content"]

    return disturb


_SORTS: dict[str, Callable[[Case, np.random.Generator], _Disturb]] = {
    "ordinary": _none,
    "standing": _none,
    "shade": _shade,
    "rain": _rain,
    "snow": _snow,
    "sparkle": _sparkle,
    "screen": _screen,
}
SORTS = tuple(_SORTS)

# Sizes of visitors: near, far, and as far as a picture of 64x48 shows them.
_NEAR, _FAR, _SMALL = (3, 7), (2, 4), (1, 2)
_MIXED = (_NEAR, _SMALL, _NEAR, _SMALL, _NEAR)


def _cases(sort: str, amounts: tuple[float, ...], sizes: tuple[tuple[int, int], ...] = _MIXED) -> list[Case]:
    pairs = zip(amounts, sizes, strict=True)
    return [Case(sort=sort, seed=n, amount=amount, size=size) for n, (amount, size) in enumerate(pairs)]


CASES = (
    *_cases("ordinary", (0,) * 5, (_NEAR, (5, 12), _FAR, _SMALL, _NEAR)),
    *(Case(sort="standing", seed=n, stays=30, misses=0.1 * (n + 1)) for n in range(5)),
    *(
        Case(sort="shade", seed=n, amount=share, ground=8, contrast=18, size=_FAR, visits=8)
        for n, share in enumerate((0.15, 0.3, 0.5, 0.8, 1.0))
    ),
    *_cases("rain", (1, 4, 10, 20, 40)),
    *_cases("snow", (5, 20, 40, 80, 150)),
    *_cases("sparkle", (1, 2, 4, 8, 16)),
    *_cases("screen", (2, 4, 6, 8, 12), (_NEAR, _SMALL, _NEAR, _NEAR, _NEAR)),
)
