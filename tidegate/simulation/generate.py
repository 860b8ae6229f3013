"""Synthetic traces: each has one load pattern of camera sites. Pure; the same seed gives the same traces."""

from __future__ import annotations

import numpy as np

from tidegate.simulation.trace import Floats, Trace

HOUR_S = 3600
DAY_S = 24 * HOUR_S
STEP_S = 1.0


def generated(seed: int = 1) -> list[Trace]:
    """Return one trace of each kind. Rates are segments a second; a camera sends one a second."""
    rng = np.random.default_rng(seed)
    return [
        _trace("days", _days(), 10.0, rng),
        _trace("bursts", _bursts(rng), STEP_S, rng),
        _trace("flash_crowd", _flash_crowd(), STEP_S, rng),
        _trace("ramp", _ramp(), STEP_S, rng),
        _trace("outage", _outage(), STEP_S, rng),
    ]


def untuned(seed: int) -> list[Trace]:
    """Return loads that no constant of a policy was tuned on: ten hours of each kind."""
    rng = np.random.default_rng(seed)
    return [
        _trace("states", _states(rng), STEP_S, rng),
        _trace("drift", _drift(rng), STEP_S, rng),
        _trace("shifts", _shifts(rng), STEP_S, rng),
        _trace("incidents", _incidents(rng), STEP_S, rng),
    ]


def _trace(name: str, rate: Floats, step_s: float, rng: np.random.Generator) -> Trace:
    return Trace(name, step_s, rng.poisson(np.maximum(0.0, rate) * step_s).astype(np.int64))


def _days() -> Floats:
    """Friday to Monday: motion-triggered cameras follow the day, with two rush hours, and half the rate at weekends."""
    t = np.arange(0, 4 * DAY_S, 10.0)
    hour = t / HOUR_S % 24
    day = 0.5 - 0.5 * np.cos(2 * np.pi * (hour - 3) / 24)
    rush = np.exp(-(((hour - 8.5) / 1.0) ** 2)) + 1.4 * np.exp(-(((hour - 17.5) / 1.3) ** 2))
    weekday = np.array([1.0, 0.5, 0.45, 0.95])[(t // DAY_S).astype(int)]
    rate: Floats = (0.6 + 8 * day**2 + 7 * rush) * weekday
    return rate


def _bursts(rng: np.random.Generator) -> Floats:
    """Eight hours of a site with little motion, and occasional events in front of many cameras together."""
    rate = np.full(8 * HOUR_S, 3.0)
    at = rng.exponential(600)
    while at < len(rate):
        length = rng.uniform(40, 300)
        rate[int(at) : int(at + length)] += rng.uniform(4, 16)
        at += length + rng.exponential(600)
    return rate


def _flash_crowd() -> Floats:
    """Two flash crowds in five hours: from zero to the peak within ten seconds, and then an exponential decay."""
    t = np.arange(5 * HOUR_S)
    rate = np.zeros(len(t))
    for start, peak in ((0.5 * HOUR_S, 20.0), (3 * HOUR_S, 14.0)):
        since = t - start
        crowd = peak * np.clip(since / 10, 0, 1) * np.exp(-np.maximum(0, since - 1200) / 900)
        rate += np.where((since >= 0) & (since < 4500), crowd, 0)
    return rate


def _ramp() -> Floats:
    """Cameras are added one after another over an hour and a half, and removed again."""
    t = np.arange(5 * HOUR_S) / HOUR_S
    return np.interp(t, [0, 0.25, 1.75, 3, 4.25, 5], [1.0, 1.0, 20, 20, 1.0, 1.0])


def _outage() -> Floats:
    """A steady site that loses two thirds of its cameras abruptly, for forty minutes, and regains them abruptly."""
    t = np.arange(6 * HOUR_S)
    rate = np.full(len(t), 15.0)
    rate[2 * HOUR_S : int(2.67 * HOUR_S)] = 5.0
    rate[int(4.5 * HOUR_S) : int(4.58 * HOUR_S)] = 3.0
    return rate


LONG_S = 10 * HOUR_S


def _states(rng: np.random.Generator) -> Floats:
    """Four levels, which change at random after a quarter of an hour in the mean."""
    levels, rate, at = rng.uniform(1, 14, 4), np.empty(LONG_S), 0
    while at < LONG_S:
        length = 1 + int(rng.exponential(900))
        rate[at : at + length] = levels[rng.integers(4)]
        at += length
    return rate


def _drift(rng: np.random.Generator) -> Floats:
    """A level that drifts away from its mean and back within half an hour, by a factor of two or so."""
    step_s, memory_s = 10, 1800
    noise = rng.normal(size=LONG_S // step_s) * 0.9 * np.sqrt(2 * step_s / memory_s)
    drift = np.zeros(len(noise))
    for i in range(1, len(drift)):
        drift[i] = drift[i - 1] * (1 - step_s / memory_s) + noise[i]
    rate: Floats = 4 * np.exp(0.7 * np.repeat(drift, step_s))
    return rate


def _shifts(rng: np.random.Generator) -> Floats:
    """Shifts of several hours that overlap, with a slow wave, and two minutes between two levels."""
    hours = np.arange(LONG_S) / HOUR_S
    rate = 3 + 6.0 * (hours % 3 > 1) + 4.0 * (hours % 5 < 0.5) + 1.5 * np.sin(2 * np.pi * hours / rng.uniform(0.6, 1.4))
    return np.convolve(rate, np.ones(120) / 120, "same")


def _incidents(rng: np.random.Generator) -> Floats:
    """Incidents with heavy-tailed sizes, every twenty minutes in the mean, each with a decay of minutes."""
    rate, at = np.full(LONG_S, 2.5), rng.exponential(1200)
    while at < LONG_S:
        size, decay_s = min(25.0, 2 * (rng.pareto(1.6) + 1)), rng.uniform(180, 900)
        since = np.arange(LONG_S - int(at))
        rate[int(at) :] += size * np.exp(-since / decay_s) * np.clip(since / 20, 0, 1)
        at += rng.exponential(1200)
    return rate
