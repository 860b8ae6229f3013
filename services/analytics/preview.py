"""`python -m services.analytics.preview`: report what rules would have found in the past, as lines.

`shared.contract.questions.preview` defines the input and output lines.
The code that follows a camera live follows it here, so the incidents are those that live analytics reports for the same
detections and rules, without verification.
ANALYTICS_FPS and the other variables apply here too. There is no network connection, and the work is bounded.

Exit codes: 0 answered, with mistakes or incidents; 1 nobody reads the answer; 2 the request can't be answered.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

import msgspec
from msgspec.structs import replace

from shared.bus.direct import Stored
from shared.contract import names, rules
from shared.contract.events import Detections, Incident
from shared.contract.questions import preview
from shared.contract.questions.preview import Answer, Line, Request, WrongRule
from shared.contract.reading.bounds import in_time
from shared.contract.reading.mistakes import Mistakes
from shared.contract.rules import Rules
from shared.runtime import telemetry
from shared.runtime.errors import BadMessage, TidegateError
from shared.service import process

with process.needing("analytics"):
    from services.analytics.camera.statements import Outs
    from services.analytics.limits import Limits
    from services.analytics.partitions.partition import Partition
    from services.analytics.rules.rulebook import without_actions
    from services.analytics.settings import limits_here

# Seconds of one core, and bytes beyond those of a process that has just started.
MOST_CPU_S = 60
MOST_MEMORY = 2**30
# Progress is reported at each step of this share.
STEP = 0.01
_SHORTER = "choose a shorter time"

T = TypeVar("T", bound=msgspec.Struct)


class _OutOfTime(BaseException):
    """The CPU limit, derived from BaseException so that analytics does not skip it as one segment's error."""


class Preview:
    """What rules would have reported of one camera. segments, unreadable: lines of detections, and those that were
    invalid.

    incidents: ids of those reported.
    """

    def __init__(self, request: Request, found: Rules, limits: Limits) -> None:
        self.segments = self.unreadable = 0
        self.incidents: set[str] = set()
        self._request = request
        self._subject = names.event(Detections.kind, request.camera)
        own_rules = without_actions(found)
        self._partition = Partition(0, replace(limits, settle_s=0.0), lambda _: own_rules)
        self._seq = 0
        self._before: dict[str, Incident] = {}

    @property
    def tracks(self) -> int:
        camera = self._partition.cameras.get(self._request.camera)
        return camera.analysis.objects if camera else 0

    def progress(self, at: dt.datetime) -> float:
        """Return the share of the requested time that lies before `at`."""
        since, until = self._request.since, self._request.until
        return min(1.0, max(0.0, (at - since) / (until - since)))

    def read(self, seq: int, line: Line) -> Iterator[Incident]:
        """Yield the incidents that follow from detections. Raises BadMessage."""
        if seq <= self._seq:
            raise BadMessage(f"detections {seq} come after {self._seq}: send them as EVENTS has them, oldest first")
        if self.segments == preview.MOST_SEGMENTS:
            raise BadMessage(f"there are more than {preview.MOST_SEGMENTS} segments: {_SHORTER}")
        self._seq = seq
        self.segments += 1
        yield from self._select(self._partition.read(Stored(seq, self._subject, line.at, {}, bytes(line.event))))
        self.unreadable += len(self._partition.bad)
        self._partition.bad.clear()

    def end(self, at: dt.datetime) -> Iterator[Incident]:
        """Yield the incidents that follow if nothing else was stored until `at`."""
        for _, outs in self._partition.due(at.timestamp()):
            yield from self._select(outs)
        # Incidents that began earlier, still last, and had no other event.
        for incident in list(self._before.values()):
            yield self._emit(incident)

    def _select(self, outs: Outs) -> Iterator[Incident]:
        for incident in (out.what for out in outs if isinstance(out.what, Incident)):
            if incident.start > self._request.until:
                continue
            if incident.time >= self._request.since:
                yield self._emit(incident)
            elif incident.state == "end":
                self._before.pop(incident.incident, None)
            else:
                self._before[incident.incident] = incident

    def _emit(self, incident: Incident) -> Incident:
        self._before.pop(incident.incident, None)
        self.incidents.add(incident.incident)
        if len(self.incidents) > preview.MOST_INCIDENTS:
            raise BadMessage(
                f"these rules tell of more than {preview.MOST_INCIDENTS} incidents: {_SHORTER}, or rules that are true "
                "less often, by a 'hold_s' or a 'cooldown_s'"
            )
        return incident


def answers(stream: BinaryIO, limits: Limits) -> Iterator[Answer]:
    """Yield all answers to the request in `stream`. Raises BadMessage."""
    began = time.monotonic()
    lines = _lines(stream)
    request = _decoded(next(lines, b""), Request, "the first line")
    if not (in_time(request.since) and in_time(request.until) and request.since < request.until):
        raise BadMessage(f"since {request.since.isoformat()} is not before until {request.until.isoformat()}")
    try:
        found = rules.read(bytes(request.rules), "the rules")
    except Mistakes as e:
        yield Answer(mistakes=[WrongRule(path=m.path, text=m.text) for m in e.all])
        return
    replay = Preview(request, found, limits)
    reported = 0.0
    for n, text in enumerate(lines, 2):
        line = _decoded(text, Line, f"line {n}")
        if not in_time(line.at):
            raise BadMessage(f"line {n}: its time {line.at.isoformat()} is none that a clock shows")
        new = replay.end(line.at) if line.seq is None else replay.read(line.seq, line)
        yield from (Answer(incident=incident) for incident in new)
        if line.seq is None:
            yield _totals(replay, began)
            return
        if (progress := replay.progress(line.at)) >= reported + STEP:
            reported = progress
            yield Answer(done=round(progress, 3))
    raise BadMessage("the input ended before its last line, which says until when all was sent")


def _totals(replay: Preview, began: float) -> Answer:
    return Answer(
        incidents=len(replay.incidents),
        tracks=replay.tracks,
        segments=replay.segments,
        unreadable=replay.unreadable,
        seconds_taken=round(time.monotonic() - began, 3),
    )


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    left = preview.MOST_BYTES
    while line := stream.readline(preview.MOST_LINE + 1):
        left -= len(line)
        if len(line) > preview.MOST_LINE:
            raise BadMessage(f"a line has more than {preview.MOST_LINE} bytes: no event is so large")
        if left < 0:
            raise BadMessage(f"there are more than {preview.MOST_BYTES} bytes of detections: {_SHORTER}")
        yield line


def _decoded(text: bytes, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"{where} can't be read: {e}") from e


def _limit_process() -> None:
    """Limit the CPU time and memory of this process from now on."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(spent.ru_utime + spent.ru_stime) + MOST_CPU_S
    signal.signal(signal.SIGXCPU, _out_of_time)
    # The kernel ends the process where it can't even begin an answer.
    _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 5)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY
    _limit(resource.RLIMIT_AS, most, most)


def _limit(what: int, soft: int, hard: int) -> None:
    least = resource.getrlimit(what)[1]
    hard = hard if least == resource.RLIM_INFINITY else min(hard, least)
    resource.setrlimit(what, (min(soft, hard), hard))


def _out_of_time(*_: object) -> NoReturn:
    raise _OutOfTime


def _answer(out: BinaryIO) -> int:
    """Answer the request on standard input; return the exit code."""
    try:
        try:
            _limit_process()
            for one in answers(sys.stdin.buffer, limits_here()):
                out.write(preview.line_of(one))
                out.flush()
            return 0
        except TidegateError as e:
            why = str(e)
        except _OutOfTime:
            why = f"it takes more than {MOST_CPU_S} s of a core: {_SHORTER}"
        except MemoryError:
            why = f"it takes more than {MOST_MEMORY >> 20} MB: {_SHORTER}"
        out.write(preview.line_of(Answer(error=why)))
        out.flush()
        return 2
    except BrokenPipeError:
        return 1


def main() -> NoReturn:
    telemetry.log_aside()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", closefd=False) as out:
        # Other prints must not mix with the answer.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        code = _answer(out)
        sys.stderr.flush()
        # Nothing is left to write, and failed writes must not be retried.
        os._exit(code)


if __name__ == "__main__":
    main()
