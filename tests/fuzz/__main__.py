"""Try inputs at every door in several processes, and print a table. The exit code is 1 if something was found."""

from __future__ import annotations

import argparse
import functools
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import doors
from tests.fuzz.child import DONE, MOST_FINDINGS, UNFIT, Counts, Progress, find, input_of, try_one
from tests.fuzz.door import MB, Door

FINDINGS = Path("findings")
# A process that tries nothing new for so long, and has no second of the processor's time in it, waits for what will not
# come. One that works is ended by its own timer, however long a busy machine lets it wait.
SILENCE_S, WORK_S = 120.0, 1.0


class Finding(NamedTuple):
    """fault: the key that distinguishes it from others. n: the input's number."""

    fault: str
    n: int
    text: str
    path: Path


class Tried(NamedTuple):
    """The results of the inputs at one door. findings: one for each fault."""

    door: str
    counts: Counts
    findings: list[Finding]


def names() -> list[str]:
    """The names of all doors, room by room."""
    found = sorted(m.name for m in pkgutil.iter_modules(doors.__path__) if not m.name.startswith("_"))
    return [door.name for name in found for door in doors.of(name)]


def try_door(name: str, seed: int, count: int) -> Tried:
    """Try inputs 0 to `count`. A process that an input ends is replaced, and its successor starts after that input."""
    so_far, deaths = Counts(0), 0
    findings: dict[str, Finding] = {}
    while so_far.next < count and deaths < MOST_FINDINGS:
        with tempfile.TemporaryDirectory() as scratch:
            reply, ended = _child(name, seed, so_far.next, count, Path(scratch))
            counts, data = Progress(Path(scratch, "progress")).read()
            stack = Path(scratch, "stack")
            text = stack.read_text(errors="replace")[:2000] if stack.exists() else ""
        for n, fault, problem in reply:
            findings.setdefault(fault, _save(name, seed, n, fault, problem))
        if ended != DONE:
            deaths += 1
            fault = _cause(ended)
            findings.setdefault(fault, _save(name, seed, counts.next, fault, text, data))
            counts = counts._replace(next=counts.next + 1, tried=counts.tried + 1)
        so_far = _sum(so_far, counts)
    return Tried(name, so_far, list(findings.values()))


def _sum(a: Counts, b: Counts) -> Counts:
    numbers = (one + other for one, other in zip(a[1:4], b[1:4], strict=True))
    return Counts(b.next, *numbers, max(a.slowest, b.slowest), max(a.peak, b.peak))


def _child(name: str, seed: int, first: int, count: int, scratch: Path) -> tuple[list[tuple[int, str, str]], int]:
    """(its findings, how it ended: DONE, or as an input has ended it, negative for a signal)."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(seed), str(first), str(count), str(scratch)]
    out = scratch / "out"
    with out.open("wb") as file, (scratch / "errors").open("wb") as errors:
        process = subprocess.Popen(command, stdout=file, stderr=errors)
        progress = Progress(scratch / "progress")
        last, busy, since = -1, 0.0, time.monotonic()
        while process.poll() is None:
            time.sleep(0.05)
            n, work = progress.read()[0].next, _work(process.pid)
            if n != last or work - busy > WORK_S:
                last, busy, since = n, work, time.monotonic()
            elif time.monotonic() - since > SILENCE_S:
                process.send_signal(signal.SIGABRT)
                process.wait(10)
    output = [(one["n"], one["fault"], one["text"]) for one in map(json.loads, out.read_text().splitlines())]
    if process.returncode == UNFIT:
        raise SystemExit(f"{name}: {(scratch / 'errors').read_text()[-3000:]}")
    return output[:MOST_FINDINGS], process.returncode


def _work(pid: int) -> float:
    """Seconds of the processor's time that a process of ours has had. It is not reaped yet."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cause(ended: int) -> str:
    if ended >= 0:
        return f"ended with {ended}"
    existing = {signal.SIGPROF: "stall", signal.SIGABRT: "hang or abort"}
    return existing.get(signal.Signals(-ended), f"crash by {signal.Signals(-ended).name}")


def _save(name: str, seed: int, n: int, fault: str, text: str, data: bytes | None = None) -> Finding:
    """Write the input down, so that it can be tried again."""
    path = FINDINGS / name / f"{seed}-{n}"
    path.parent.mkdir(parents=True, exist_ok=True)
    door = find(name)
    path.write_bytes(input_of(door, seed, n, list(door.seeds()), door.corpus()) if data is None else data)
    return Finding(fault, n, text, path)


def shares(chosen: Sequence[Door], count: int) -> dict[str, int]:
    """Return how many of `count` inputs each door gets."""
    whole = sum(door.share for door in chosen)
    return {door.name: max(1, round(count * door.share / whole)) for door in chosen}


def table(tried: Sequence[Tried]) -> str:
    head = f"{'door':<24}" + "".join(f"{name:>10}" for name in ("inputs", "taken", "refused", "failed", "faults"))
    head += f"{'slowest':>11}{'memory':>10}"
    whole = Tried("all", functools.reduce(_sum, (t.counts for t in tried)), [f for t in tried for f in t.findings])
    return "\n".join([head, *(_row(t) for t in [*tried, whole])])


def _row(t: Tried) -> str:
    c = t.counts
    failed = c.tried - c.taken - c.refused
    return (
        f"{t.door:<24}{c.tried:>10,}{c.taken:>10,}{c.refused:>10,}{failed:>10,}{len(t.findings):>10}"
        f"{c.slowest * 1e3:>8.0f} ms{c.peak / MB:>7.0f} MB"
    )


def replay(path: Path) -> int:
    """Try one input again, with its traceback."""
    outcome = try_one(find(path.parent.name), path.read_bytes())
    print(outcome.problem or ("taken" if outcome.taken else "refused"))
    return 1 if outcome.problem else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("-n", type=int, default=1_000_000, help="inputs, at all doors together")
    parser.add_argument("--seed", type=int, default=0, help="other inputs for another seed")
    parser.add_argument("--door", default="", help="doors whose name begins so alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--replay", type=Path, help="a file of findings/ or the corpus")
    given = parser.parse_args()
    if given.replay:
        return replay(given.replay)
    chosen = [find(name) for name in names() if name.startswith(given.door)]
    if not chosen:
        parser.error(f"no door is called {given.door!r}: there are {', '.join(names())}")
    began = time.monotonic()
    tried: list[Tried] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        # The slow ones first, so that none is left over at the end.
        order = sorted(
            shares(chosen, given.n).items(), key=lambda one: next(d.share for d in chosen if d.name == one[0])
        )
        for one in pool.map(lambda one: try_door(one[0], given.seed, one[1]), order):
            tried.append(one)
            print(f"  {len(tried)} of {len(chosen)} doors: {one.door}", file=sys.stderr, flush=True)
    print(table(sorted(tried, key=lambda t: t.door)))
    print(f"seed {given.seed}, {time.monotonic() - began:.0f} s")
    for one in tried:
        for found in one.findings:
            print(f"\n{one.door}: {found.fault} at input {found.n}, kept as {found.path}\n{found.text}")
    return 1 if any(t.findings for t in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
