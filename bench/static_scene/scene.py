"""The camera's picture: a static scene of real footage, disturbances and visitors. Deterministic for a seed.

Example:
    for picture in frames(Disturbances(noise=2, light=0.1), visits, 6000, seed=1): ...      # planes of 768x576
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench import footage_vtest as footage
from bench.static_scene import cutouts, planes
from bench.static_scene.planes import Planes
from bench.static_scene.visits import Visit

# A tree crown made of the lawn: x, y, width and height of the tree, and x, y of the source of its leaves.
_TREE = (560, 330, 150, 200)
_LAWN = (200, 340)
# The number of precomputed noise pictures; each frame uses one at a random offset.
_NOISES, _MOVE = 4, 64
# The duration of a sweep of a car's lights over the scene, and the mean interval between sweeps.
_SWEEP_S, _SWEEPS_EVERY_S = 2.5, 45.0
_SHADOW_EVERY_S = 60.0


class Disturbances(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in the picture besides visitors.

    noise: of the sensor, standard deviation in grey levels. dark: factor of brightness. light: drift of brightness
    within five minutes, as a share. shadows: darkening by clouds, as a share. tree: sway in pixels. lights: brightness
    of headlights, in levels. shake: of the camera, in pixels.
    """

    noise: float = 2.0
    dark: float = 1.0
    light: float = 0.1
    shadows: float = 0.0
    tree: float = 0.0
    lights: float = 0.0
    shake: float = 0.0


def frames(what: Disturbances, visits: Sequence[Visit], count: int, seed: int) -> Iterator[Planes]:
    rng = np.random.default_rng((seed, 1))
    ground = planes.of(cutouts.ground())
    noises = [_noise(rng, what.noise) for _ in range(_NOISES)]
    gains, offsets = _drift(rng, count) * what.light + 1, _wander(rng, count, 0.2) * what.shake
    sways = _wander(rng, count, 0.35) * what.tree
    sweeps, shadows = _moments(rng, count, _SWEEPS_EVERY_S), _moments(rng, count, _SHADOW_EVERY_S)
    for k in range(count):
        picture = Planes(*(plane.copy() for plane in ground))
        if what.tree:
            _sway(picture, ground, sways[k])
        for visit in visits:
            if (cutout := visit.at(k)) is not None:
                _put(picture, cutout)
        y = picture.y.astype(np.int16)
        y = _lit(y, what, gains[k], _since(shadows, k), _since(sweeps, k))
        if what.shake:
            y, picture = _shaken(y, picture, offsets[k])
        y += _pick(noises, rng, y.shape)
        yield Planes(np.clip(y, 0, 255).astype(np.uint8), picture.u, picture.v)


def _put(picture: Planes, cutout: cutouts.Cutout) -> None:
    (x, y), (height, width) = cutout.at, cutout.alpha.shape
    below = picture.cut(x, y, width, height)
    for ours, mixed in zip(below, planes.blend(below, cutout.planes, cutout.alpha), strict=True):
        ours[...] = mixed


def _sway(picture: Planes, ground: Planes, by: NDArray[np.floating]) -> None:
    """Draw the tree crown, moved `by` (x, y) pixels, most at its top."""
    x, y, width, height = _TREE
    leaves = ground.cut(*_LAWN, width, height)
    rows = np.arange(height)[:, None]
    lever = 1 - rows / height
    across, down = np.arange(width)[None], np.arange(height)[:, None]
    clumps = 26 * np.sin(across / 5.0 + by[0] * lever) * np.sin(down / 6.0 + by[1] * lever)
    dark = np.clip(leaves.y * 0.6 + clumps, 0, 255).astype(np.uint8)
    middle_x, middle_y = (across - width / 2 - by[0] * lever) / (width / 2 - 8), (down - height / 2) / (height / 2 - 4)
    alpha = np.clip((1 - np.hypot(middle_x, middle_y)) * 8, 0, 1).astype(np.float32)
    below = picture.cut(x, y, width, height)
    for ours, mixed in zip(below, planes.blend(below, Planes(dark, leaves.u, leaves.v), alpha), strict=True):
        ours[...] = mixed


def _lit(y: Any, what: Disturbances, gain: float, shadow: float, sweep: float) -> Any:
    """Return luma in the current light. shadow, sweep: seconds since the last cloud and the last headlights."""
    width = y.shape[1]
    columns = np.full(width, gain * what.dark)
    if what.shadows and shadow < 20:
        # The shadow's edge crosses the scene in four seconds, and retreats in four more.
        edge = width * (shadow / 4 if shadow < 16 else (20 - shadow) / 4)
        columns *= 1 - what.shadows / (1 + np.exp((np.arange(width) - edge) / 30))
    y = (y * columns.astype(np.float32)).astype(np.int16)
    if what.lights and sweep < _SWEEP_S:
        at = width * (1 - sweep / _SWEEP_S)
        across = np.exp(-(((np.arange(width) - at) / 90) ** 2))
        down = np.exp(-(((np.arange(y.shape[0]) - 230) / 60) ** 2))
        y += (what.lights * down[:, None] * across[None]).astype(np.int16)
    return y


def _shaken(y: Any, picture: Planes, by: NDArray[np.floating]) -> tuple[Any, Planes]:
    """Return the picture moved by whole pixels, like a camera on a pole in the wind."""
    dx, dy = (round(float(v)) for v in by)

    def moved(plane: Any, x: int, down: int) -> Any:
        padded = np.pad(plane, ((abs(down), abs(down)), (abs(x), abs(x))), mode="edge")
        top, left = abs(down) - down, abs(x) - x
        return padded[top : top + plane.shape[0], left : left + plane.shape[1]]

    colours = (moved(plane, round(dx / 2), round(dy / 2)) for plane in (picture.u, picture.v))
    return moved(y, dx, dy).copy(), Planes(picture.y, *colours)


def _noise(rng: np.random.Generator, level: float) -> NDArray[np.int16]:
    shape = footage.HEIGHT + _MOVE, footage.WIDTH + _MOVE
    return np.rint(rng.normal(0, level, shape)).astype(np.int16)


def _pick(noises: Sequence[NDArray[np.int16]], rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int16]:
    which, down, across = (int(v) for v in rng.integers(0, (_NOISES, _MOVE, _MOVE)))
    return noises[which][down : down + shape[0], across : across + shape[1]]


def _drift(rng: np.random.Generator, count: int) -> NDArray[np.floating]:
    """Return a slow drift from -1 to 1: a period of five minutes, and a shorter one."""
    time = np.arange(count) / footage.FPS
    phase = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(time * 2 * np.pi / 300 + phase[0]) * 0.7 + np.sin(time * 2 * np.pi / 47 + phase[1]) * 0.3


def _wander(rng: np.random.Generator, count: int, hz: float) -> NDArray[np.floating]:
    """Return (count, 2) offsets of about -1 to 1, in gusts."""
    time = np.arange(count)[:, None] / footage.FPS
    phase = rng.uniform(0, 2 * np.pi, (4, 2))
    fast = np.sin(time * 2 * np.pi * hz + phase[0]) + 0.6 * np.sin(time * 2 * np.pi * hz * 2.7 + phase[1])
    gusts = 0.5 + 0.5 * np.sin(time * 2 * np.pi / 31 + phase[2]) * np.sin(time * 2 * np.pi / 83 + phase[3])
    return fast / 1.6 * gusts


def _moments(rng: np.random.Generator, count: int, every_s: float) -> NDArray[np.floating]:
    gaps = rng.exponential(every_s, size=int(count / footage.FPS / every_s * 3) + 4)
    return np.cumsum(gaps)


def _since(moments: NDArray[np.floating], k: int) -> float:
    """Return the seconds since the last moment; a large number before the first."""
    time = k / footage.FPS
    past = moments[moments <= time]
    return float(time - past[-1]) if len(past) else 1e9
