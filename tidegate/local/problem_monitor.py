"""Finds what is wrong with the processes of a stack, and writes it where other commands read it.

    monitor = ProblemMonitor(data, targets, pools, lambda: {("nats-server", "nats-server"): healing.trouble})
    await monitor.look()            # every LOOK_S seconds; every REST_S while nothing is wrong
    monitor.problems                # for the live view

A dead process is reported by its pool, a living one by its own `/readyz`.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from shared.runtime import problems
from shared.runtime.problems import Problem
from shared.runtime.tasks import gather
from shared.runtime.telemetry import logger
from shared.runtime.ticks import tick
from tidegate.local.last_error import clean
from tidegate.local.scaling.replicas import Replicas

LOOK_S, REST_S = 1.0, 5.0
ANSWER_S = 2.0
MOST_ANSWER = 4096
# A start takes START_S on a slow machine, and other reasons may pass within SETTLE_S; after that it is a problem.
START_S, SETTLE_S = 30.0, 5.0
NO_PAGE = "it has not begun to serve /readyz"
NO_ANSWER = "its /readyz does not answer"
# What a process that starts reports.
_STARTING = ("starting", "loading the model", NO_PAGE)


class _Entry(msgspec.Struct):
    """An entry of a file for Prometheus."""

    targets: list[str]
    labels: dict[str, str]


class ProblemMonitor:
    """See the module. data: where the file goes. targets: the folder of files for Prometheus. others: sentences on
    what has no such page, by service and name; an empty one is no problem.
    """

    def __init__(
        self,
        data: Path,
        targets: Path,
        pools: Mapping[str, Replicas],
        others: Callable[[], Mapping[tuple[str, str], str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problems: list[Problem] = []
        self._file = data / problems.FILE
        self._targets = targets
        self._pools = pools
        self._others = others
        self._clock = clock
        # When each replica was first seen not to be ready, by our clock and by the calendar.
        self._since: dict[str, tuple[float, dt.datetime]] = {}
        self._file.unlink(missing_ok=True)
        self._log = logger("stack")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await tick(LOOK_S if self._since or self.problems else REST_S)

    async def look(self) -> None:
        """Find the problems, and write them if they have changed."""
        died = {p.replica: p for pool in self._pools.values() for p in pool.problems}
        waiting = {p.replica: p for p in self._settled(await self._not_ready())}
        found = [{**waiting, **died}[replica] for replica in sorted({*waiting, *died})]
        if found == self.problems:
            return
        self._tell(found)
        self.problems = found
        # A full disk is reported elsewhere, and ends no stack.
        with contextlib.suppress(OSError):
            problems.write(self._file, found)

    def close(self) -> None:
        """Remove the file: nothing runs."""
        self._file.unlink(missing_ok=True)

    def _tell(self, found: list[Problem]) -> None:
        """Log new problems. A pool has logged a death, and a sentence may count seconds."""
        before = {_signature(p) for p in self.problems}
        for problem in found:
            if problem.kind != "died" and _signature(problem) not in before:
                self._log.warning("not ready", replica=problem.replica, error=problem.sentence)

    def _settled(self, waiting: Mapping[tuple[str, str], str]) -> list[Problem]:
        """Return those that have lasted for longer than is usual. waiting: a sentence by service and replica."""
        now, today = self._clock(), dt.datetime.now(dt.UTC)
        self._since = {replica: self._since.get(replica, (now, today)) for _, replica in waiting}
        found, others = [], self._others()
        for (service, replica), sentence in waiting.items():
            began, since = self._since[replica]
            usual_s = START_S if sentence in _STARTING else 0.0 if (service, replica) in others else SETTLE_S
            if now - began >= usual_s:
                text = clean(sentence)
                found.append(Problem(service=service, replica=replica, since=since, sentence=text, kind="not ready"))
        return found

    async def _not_ready(self) -> dict[tuple[str, str], str]:
        entries = await asyncio.to_thread(_entries, self._targets)
        answers = await gather(map(_reason, entries))
        found = {
            (entry.labels.get("service", ""), entry.labels.get("replica", "")): answer
            for entry, answer in zip(entries, answers, strict=True)
            if answer
        }
        # A replica of several GPUs has a page for each.
        serving = {entry.labels.get("replica", "") for entry in entries}
        for service, pool in self._pools.items():
            for name in pool.ages:
                if not any(other == name or other.removeprefix(f"{name}-").isdigit() for other in serving):
                    found[service, name] = NO_PAGE
        return found | {key: sentence for key, sentence in self._others().items() if sentence}


def _signature(problem: Problem) -> tuple[str, str, str]:
    return problem.replica, problem.kind, re.sub(r"\d+", "", problem.sentence)


def _entries(targets: Path) -> list[_Entry]:
    """Return the pages of all processes but our own."""
    found: list[_Entry] = []
    for path in sorted(targets.glob("*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found += msgspec.json.decode(path.read_bytes(), type=list[_Entry])
    return [entry for entry in found if entry.targets and entry.labels.get("service") != "up"]


async def _reason(entry: _Entry) -> str:
    """Return why a process is not ready, by its own page; empty if it is."""
    host, _, port = entry.targets[0].rpartition(":")
    secured = entry.labels.get("__scheme__") == "https"
    # The certificate is for its external name, and the page is on this machine.
    context = ssl._create_unverified_context() if secured else None  # noqa: S323
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
            try:
                writer.write(f"GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                answer = (await _read(reader)).decode(errors="replace")
            finally:
                writer.close()
    except (OSError, ValueError):  # TimeoutError is an OSError
        return NO_ANSWER
    head, _, body = answer.partition("\r\n\r\n")
    status = head.partition(" ")[2][:3]
    return "" if status == "200" else body.strip() or NO_ANSWER


async def _read(reader: asyncio.StreamReader) -> bytes:
    parts = b""
    while len(parts) < MOST_ANSWER and (part := await reader.read(MOST_ANSWER - len(parts))):
        parts += part
    return parts
