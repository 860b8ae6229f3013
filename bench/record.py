"""The result of a benchmark as data: `bench-output/<name>.json`, with the machine it ran on.

    record.write("bus", {"worker / bare": 0.97}, figures={"worker, segments/s": 13.4})

Only ratios are compared with the baseline, which may be of another machine: a run measures both sides of a ratio.
The file also has figures, to compare two runs on one machine.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from shared.models import machine
from shared.models.machine import Machine

FOLDER = Path("bench-output")
BASELINE = Path(__file__).with_name("baseline.json")
# A smaller change of a ratio is within the noise of a shared machine.
NOISE = 0.05


class Ratio(msgspec.Struct, frozen=True):
    """A ratio. better: `higher` or `lower`."""

    value: float
    better: str = "higher"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark's run. commit: of the tree, with a + if it has changes."""

    name: str
    time: dt.datetime
    commit: str
    machine: Machine
    ratios: dict[str, Ratio]
    figures: dict[str, float]


def write(
    name: str,
    higher: Mapping[str, float] | None = None,
    lower: Mapping[str, float] | None = None,
    figures: Mapping[str, float] | None = None,
) -> None:
    """Write a result to its file. higher, lower: ratios, by what is better. figures: other values, with their unit."""
    ratios = {key: Ratio(round(value, 4)) for key, value in (higher or {}).items()}
    ratios |= {key: Ratio(round(value, 4), "lower") for key, value in (lower or {}).items()}
    result = Result(
        name=name,
        time=dt.datetime.now(dt.UTC).replace(microsecond=0),
        commit=commit(),
        machine=machine.describe(),
        ratios=ratios,
        figures={key: round(value, 4) for key, value in (figures or {}).items()},
    )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def read() -> list[Result]:
    """Return the results in the folder, by name."""
    return [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(FOLDER.glob("*.json"))]


def baseline() -> list[Result]:
    return msgspec.json.decode(BASELINE.read_bytes(), type=list[Result]) if BASELINE.exists() else []


def keep(results: Iterable[Result]) -> None:
    """Make these the baseline of their benchmarks, without figures."""
    merged = {r.name: r for r in baseline()} | {r.name: msgspec.structs.replace(r, figures={}) for r in results}
    rows = [merged[name] for name in sorted(merged)]
    BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


def changes(before: Iterable[Result], after: Iterable[Result]) -> list[tuple[str, str, float | None, float, str]]:
    """Return (benchmark, ratio, before, after, verdict) for each ratio of `after`, in its order. Pure."""
    previous = {(r.name, key): ratio.value for r in before for key, ratio in r.ratios.items()}
    return [
        (result.name, key, old := previous.get((result.name, key)), ratio.value, _verdict(old, ratio))
        for result in after
        for key, ratio in result.ratios.items()
    ]


def table(before: Iterable[Result], after: Iterable[Result]) -> Table:
    """Return the changes as a table for a terminal."""
    shown = Table("benchmark", "ratio", "baseline", "now", "change", "")
    for name, key, old, now, verdict in changes(before, after):
        change = f"{now / old - 1:+.1%}" if old else ""
        shown.add_row(name, key, "" if old is None else f"{old:.3f}", f"{now:.3f}", change, verdict)
    return shown


def commit() -> str:
    """Return the tree's commit, with a + if it has changes; empty without git or its folder."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _verdict(old: float | None, now: Ratio) -> str:
    if old is None:
        return "new"
    worse = now.value - old if now.better == "lower" else old - now.value
    if abs(worse) <= NOISE * abs(old):
        return ""
    return "worse" if worse > 0 else "better"


if __name__ == "__main__":
    if sys.argv[1:] == ["keep"]:
        keep(read())
    Console(width=120).print(table(baseline(), read()))
