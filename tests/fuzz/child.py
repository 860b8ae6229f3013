"""One process at one door: `python -m tests.fuzz.child DOOR SEED FIRST END SCRATCH`.

The current input is in shared memory, so that the parent has it if the input kills this process. Findings go to
standard output, a line of JSON each.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import mmap
import os
import random
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.door import MB, Door
from tests.fuzz.spoil import MOST

# The processor time of an input, in seconds: the limit, and the time at which its process is killed.
STALL_S, KILL_S = 1.0, 20.0
# The number of tries, of which the fastest counts: a busy machine or the first use of a library slows one down.
TRIES = 3
# The memory that no door may exceed, even for a moment: the machine is shared.
MOST_ADDRESSES = 16 * 2**30
_HEAD = struct.Struct("qqqqdq")
_ROOM = _HEAD.size + 8 + 4 * MOST
# More findings of a run than these tell nothing new.
MOST_FINDINGS = 20
# How this process ends: once all is tried; where the tool itself fails. All else is a finding.
DONE, UNFIT = 64, 65


class Counts(NamedTuple):
    """next: the number of the current input. slowest: seconds. peak: bytes by which the memory has grown."""

    next: int
    tried: int = 0
    taken: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak: int = 0

    def after(self, failed: bool, taken: bool, spent: float, more: int) -> Counts:
        """The counts with one more input."""
        return Counts(
            self.next + 1,
            self.tried + 1,
            self.taken + (taken and not failed),
            self.refused + (not taken and not failed),
            max(self.slowest, spent),
            max(self.peak, more),
        )


class Progress:
    """The values that the parent may read at any time."""

    def __init__(self, path: Path) -> None:
        path.touch()
        os.truncate(path, _ROOM)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _ROOM)

    def begin(self, counts: Counts, data: bytes) -> None:
        _HEAD.pack_into(self._memory, 0, *counts)
        struct.pack_into("q", self._memory, _HEAD.size, len(data))
        self._memory[_HEAD.size + 8 : _HEAD.size + 8 + len(data)] = data

    def read(self) -> tuple[Counts, bytes]:
        (length,) = struct.unpack_from("q", self._memory, _HEAD.size)
        return Counts(*_HEAD.unpack_from(self._memory, 0)), self._memory[_HEAD.size + 8 : _HEAD.size + 8 + length]


def find(name: str) -> Door:
    """The door of that name. Its module alone is imported: some take seconds."""
    module, _, _ = name.partition(".")
    return next(d for d in importlib.import_module(f"tests.fuzz.doors.{module}").DOORS if d.name == name)


def input_of(door: Door, seed: int, n: int, good: Sequence[bytes], remaining: Sequence[bytes]) -> bytes:
    """The input of a number, the same in each process: first saved inputs and good ones, then spoilt ones."""
    first = [*remaining, *good]
    if n < len(first):
        return first[n]
    dice = random.Random(f"{seed}/{door.name}/{n}")
    return door.spoil(dice, dice.choice(first), first)[: 4 * MOST]


class Outcome(NamedTuple):
    """problem: what is wrong, with its traceback. fault: the key that distinguishes it from other problems."""

    taken: bool
    problem: str = ""
    fault: str = ""


def try_one(door: Door, data: bytes) -> Outcome:
    try:
        door.call(data)
        return Outcome(True)
    except door.refuses:
        return Outcome(False)
    except BaseException as e:
        at = traceback.extract_tb(e.__traceback__)[-1]
        fault = f"{type(e).__name__} {Path(at.filename).name}:{at.lineno}"
        return Outcome(False, "".join(traceback.format_exception(e, limit=-6)), fault)


def run(door: Door, seed: int, first: int, end: int, progress: Progress) -> None:
    good, remaining = list(door.seeds()), door.corpus()
    tried = [try_one(door, data) for data in good]
    assert tried[0].taken and not any(one.problem for one in tried), f"the good input of {door.name} is none"
    gc.collect()
    base, counts, existing = _memory_anew(), Counts(first), set()
    for n in range(first, end):
        data = input_of(door, seed, n, good, remaining)
        if _memory() - base > counts.peak:
            _memory_anew()  # making the input took more than any door did
        progress.begin(counts, data)
        signal.setitimer(signal.ITIMER_PROF, KILL_S)
        spent, (taken, problem, fault) = _timed(door, data)
        more = _memory() - base
        if spent > STALL_S:
            problem, fault = f"{problem}{spent:.1f} s of the processor's time", "stall"
        if more > door.most_bytes:
            problem, fault = f"{problem}{more // MB} MB more than before", "memory"
        if problem and fault not in existing and len(existing) < MOST_FINDINGS:
            existing.add(fault)
            _tell(n, fault, problem)
        counts = counts.after(bool(problem), taken, spent, more)
        if more > door.most_bytes:
            base = _memory_anew()
    progress.begin(counts, b"")


def _timed(door: Door, data: bytes) -> tuple[float, Outcome]:
    """(seconds of the processor's time that an input takes, what came of it)."""
    best = float("inf")
    for _ in range(TRIES):
        before = _spent()
        outcome = try_one(door, data)
        best = min(best, _spent() - before)
        if best <= STALL_S or outcome.problem:
            break
    return best, outcome


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> int:
    """The peak of bytes in memory. The value of getrusage would include the process that started this one."""
    with Path("/proc/self/status").open("rb") as status:
        return int(status.read().partition(b"VmHWM:")[2].split(maxsplit=1)[0]) * 1024


def _memory_anew() -> int:
    """The same once the high-water mark is down to what there is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory()


def _tell(n: int, fault: str, text: str) -> None:
    print(json.dumps({"n": n, "fault": fault, "text": text}), file=sys.__stdout__, flush=True)


class _Nowhere:
    """The sink of logs: any text written there could have gone to a terminal."""

    def write(self, text: str) -> int:
        return len(text.encode(errors="replace"))

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def main(name: str, seed: str, first: str, end: str, scratch: str) -> None:
    from shared.runtime import telemetry
    from shared.runtime.settings import BusSettings

    with Path(scratch, "stack").open("w") as stack:
        faulthandler.enable(stack)
        nowhere: Any = _Nowhere()
        sys.stderr = nowhere
        telemetry.configure(BusSettings(log_format="json"), "fuzz")
        resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
        try:
            run(find(name), int(seed), int(first), int(end), Progress(Path(scratch, "progress")))
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            sys.__stderr__.flush()  # type: ignore[union-attr]
            os._exit(UNFIT)
        # Threads of libraries may outlive their work; they have no result.
        sys.__stdout__.flush()  # type: ignore[union-attr]
        os._exit(DONE)


if __name__ == "__main__":
    main(*sys.argv[1:])
