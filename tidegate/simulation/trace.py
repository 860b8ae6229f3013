"""An arrival trace: the number of segments in each step of time, and arrival times from it. Pure except `read`.

Example:
    trace = read(Path("arrivals.csv"))                # columns t_s,arrivals
    for chunk in trace.chunks(service_rate=12, service_cv=0.2, seed=1):
        chunk.arrived, chunk.work                     # seconds from the trace's start; seconds on one replica
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.runtime.errors import SettingError

Floats = NDArray[np.float64]

CHUNK = 1_000_000
# Within a step longer than this, the rate slopes as its neighbours do: half an hour of taxis has no stairs.
SLOPED_S = 30.0


@dataclass(frozen=True)
class TraceChunk:
    """Segments in order of arrival. arrived: seconds from the start. work: seconds that one replica takes for each."""

    arrived: Floats
    work: Floats


@dataclass(frozen=True)
class Trace:
    """counts[i] segments arrive in [i * step_s, (i + 1) * step_s)."""

    name: str
    step_s: float
    counts: NDArray[np.int64]

    @property
    def duration_s(self) -> float:
        return len(self.counts) * self.step_s

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def mean_rate(self) -> float:
        """Segments a second."""
        return self.total / self.duration_s

    @property
    def peak_rate(self) -> float:
        """Segments a second in the busiest step."""
        return float(self.counts.max()) / self.step_s

    def chunks(self, service_rate: float, service_cv: float, seed: int) -> Iterator[TraceChunk]:
        """Yield all segments, in chunks of about a million, the same for the same seed. Each step keeps its count."""
        rng = np.random.default_rng(seed)
        slopes = self._slopes()
        first = 0
        ends = np.cumsum(self.counts)
        while first < len(self.counts):
            done = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
            counts = self.counts[first:last]
            steps = np.repeat(np.arange(first, last), counts)
            within = _sloped(rng.random(len(steps)), np.repeat(slopes[first:last], counts))
            arrived = np.sort((steps + within) * self.step_s)
            yield TraceChunk(arrived, _work(rng, len(steps), service_rate, service_cv))
            first = last

    def _slopes(self) -> Floats:
        """Return the rise of the rate over each step, as a share of its mean: within -2 to 2, so no rate is below 0."""
        rates = self.counts.astype(np.float64)
        if self.step_s < SLOPED_S or len(rates) < 3:
            return np.zeros(len(rates))
        rise = np.gradient(rates)
        return np.clip(np.divide(rise, rates, out=np.zeros_like(rates), where=rates > 0), -2, 2)


def _sloped(u: Floats, slope: Floats) -> Floats:
    """Turn uniform numbers into places within a step whose rate is 1 + slope * (x - 1/2), by the integral's inverse."""
    a, b = slope / 2, 1 - slope / 2
    root = np.sqrt(np.maximum(0.0, b * b + 4 * a * u))
    return np.where(np.abs(a) < 1e-9, u, 2 * u / np.maximum(b + root, 1e-12))


def _work(rng: np.random.Generator, n: int, rate: float, cv: float) -> Floats:
    if cv == 0:
        return np.full(n, 1 / rate)
    shape = 1 / cv**2
    return rng.gamma(shape, 1 / (rate * shape), n)


def read(path: Path) -> Trace:
    """Read a CSV file of `t_s,arrivals`, evenly stepped. Raises SettingError naming file, line and problem."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise SettingError(_unreadable(path, e)) from e
    return parse(text, path.stem, path)


def parse(text: str, name: str, file: Path | str) -> Trace:
    """Return the trace in such a text. name: of the trace. file: its name in errors. Raises as `read` does."""
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as e:
        raise SettingError(_unreadable(file, e)) from e
    if len(rows) < 2 or not {"t_s", "arrivals"} <= set(rows[0]):
        raise SettingError(f"{file} needs a first line 't_s,arrivals' and at least two rows")
    times, counts = np.empty(len(rows)), np.empty(len(rows))
    for i, row in enumerate(rows):
        try:
            times[i], counts[i] = float(row["t_s"]), float(row["arrivals"])
        except (TypeError, ValueError):
            raise SettingError(f"{file}, line {i + 2}: {row!r} is not two numbers t_s,arrivals") from None
        if not (math.isfinite(times[i]) and 0 <= counts[i] < 1e12):
            raise SettingError(f"{file}, line {i + 2}: arrivals must be finite and 0 or more, and times finite")
    return Trace(name, *_evenly(file, times, counts))


def _unreadable(file: Path | str, error: Exception) -> str:
    return f"{file} can't be read: {error}; give a CSV file with the columns t_s,arrivals"


def _evenly(file: Path | str, times: Floats, counts: Floats) -> tuple[float, NDArray[np.int64]]:
    """Return (step, counts). Steps missing from the file have no arrivals."""
    steps = np.diff(times)
    if (steps <= 0).any():
        raise SettingError(f"{file}, line {int(np.argmax(steps <= 0)) + 3}: t_s must grow from row to row")
    step = float(steps.min())
    places = np.rint((times - times[0]) / step).astype(np.int64)
    if np.abs(times - times[0] - places * step).max() > step / 4:
        raise SettingError(
            f"{file}: rows must lie on an even grid, such as one row a second; the least step is {step:g} s"
        )
    if places[-1] > 50_000_000:
        raise SettingError(f"{file}: {places[-1]} steps of {step:g} s are too many: make the rows coarser")
    even = np.zeros(places[-1] + 1, dtype=np.int64)
    even[places] = np.rint(counts).astype(np.int64)
    if not even.any():
        raise SettingError(f"{file} holds no arrivals")
    return step, even
