"""The cost of a Tidegate that waits: CPU and wakeups a second of each process, without a camera.

    python -m bench.bench_rest [--seconds 60] [--threads]

`tidegate up --search --analytics` runs with an empty folder, and settles for half a minute. A wakeup is a voluntary
context switch: a thread that has slept runs again. Their number does not depend on the speed of a machine. Its price
does, so it is measured and printed: the CPU time of a thread that sleeps for 10 ms again and again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from bench import record

SETTLE_S = 30.0
START_S = 120.0
SLEEPS = 500
OPTIONS = ("--search", "--analytics")
out = Console(width=120, highlight=False)


class Thread(NamedTuple):
    """A thread of a service."""

    service: str
    name: str
    id: int


class Cost(NamedTuple):
    """Of a thread, cumulative."""

    cpu_s: float
    wakeups: int


def costs(root: psutil.Process) -> dict[Thread, Cost]:
    """Return the costs of all threads of a process and its descendants."""
    found = {}
    for process in (root, *root.children(recursive=True)):
        try:
            service = _service(process.cmdline())
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                found[Thread(service, (task / "comm").read_text().strip(), int(task.name))] = _cost(task)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
    return found


def _cost(task: Path) -> Cost:
    # The fields after the name in parentheses: the state is the first, utime and stime are the 12th and 13th.
    fields = (task / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
    return Cost(ticks / os.sysconf("SC_CLK_TCK"), int(status["voluntary_ctxt_switches"]))


def _service(command: list[str]) -> str:
    names = [part.removeprefix("services.") for part in command if part.startswith("services.")]
    if names:
        return names[0]
    return "nats-server" if command and command[0].endswith("nats-server") else "tidegate up"


def differences(before: dict[Thread, Cost], after: dict[Thread, Cost]) -> Iterator[tuple[Thread, Cost]]:
    for thread, now in after.items():
        then = before.get(thread, Cost(0.0, 0))
        yield thread, Cost(now.cpu_s - then.cpu_s, now.wakeups - then.wakeups)


def price_of_a_wakeup() -> float:
    """Return the CPU microseconds of a thread that sleeps and wakes, less those of as many calls that don't sleep."""

    def spent(seconds: float) -> float:
        began = time.thread_time()
        for _ in range(SLEEPS):
            time.sleep(seconds)
        return time.thread_time() - began

    return max(0.0, spent(0.01) - spent(0.0)) / SLEEPS * 1e6


def measure(seconds: float) -> list[tuple[Thread, Cost]]:
    """Return the costs of each thread within this time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tidegate", "up", "--plain", "--port", "0", "--data", folder, *OPTIONS]
        log = Path(folder) / "up.log"
        with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as up:
            try:
                _until_ready(up, log)
                time.sleep(SETTLE_S)
                root = psutil.Process(up.pid)
                before = costs(root)
                time.sleep(seconds)
                return list(differences(before, costs(root)))
            finally:
                up.terminate()


def _until_ready(up: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_S
    while "in another terminal" not in log.read_text():
        if up.poll() is not None or time.monotonic() > ends:
            raise SystemExit(f"tidegate up is not ready:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def show(found: list[tuple[Thread, Cost]], seconds: float, *, by_thread: bool) -> None:
    cpu: Counter[str] = Counter()
    wakeups: Counter[str] = Counter()
    for thread, cost in found:
        name = f"{thread.service}: {thread.name}" if by_thread else thread.service
        cpu[name] += cost.cpu_s  # type: ignore[assignment]
        wakeups[name] += cost.wakeups
    table = Table("at rest", "% of a core", "wakeups/s", box=None, pad_edge=False)
    for name, count in wakeups.most_common():
        table.add_row(name, f"{cpu[name] / seconds:.1%}", f"{count / seconds:.1f}")
    table.add_row("all of it", f"{cpu.total() / seconds:.1%}", f"{wakeups.total() / seconds:.1f}")
    out.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", action="store_true", help="a row for each thread's name")
    options = parser.parse_args()
    price = price_of_a_wakeup()
    found = measure(options.seconds)
    show(found, options.seconds, by_thread=options.threads)
    out.print(f"a wakeup costs {price:.0f} µs of CPU here")
    wakeups = sum(cost.wakeups for _, cost in found) / options.seconds
    cpu = sum(cost.cpu_s for _, cost in found) / options.seconds
    record.write("rest", figures={"wakeups/s": wakeups, "% of a core": 100 * cpu, "a wakeup, µs": price})


if __name__ == "__main__":
    main()
