"""A pool of one service's worker processes: it starts and drains them, and restarts them after a crash.

    pool = Replicas("cv", child.python("services.cv"), env, Path("logs"))
    await pool.scale_to(3)      # returns immediately; starts missing replicas, or drains the newest surplus ones
    await pool.close()          # returns when all have exited

A replica is a place in the pool, like a pod in a Deployment: it remains while its process restarts. It writes to
`<replica>.log` or to our standard error, and dies with this process, however this process dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prometheus_client import Counter

from shared.runtime import child
from shared.runtime.backoff import Backoff
from shared.runtime.pages.monitoring import forget_targets
from shared.runtime.problems import Problem
from shared.runtime.tasks import supervise
from shared.runtime.telemetry import logger
from tidegate.local import last_error, logs

# Our services exit with this code if their configuration prevents a start: a restart alone does not help.
BAD_CONFIGURATION = 2

# The part of a dead worker's log that a log line includes.
TAIL_BYTES = 2000
TAIL_LINES = 8

DELAYS = Backoff(first_s=1.0, longest_s=60.0)

RESTARTS = Counter(
    "tidegate_worker_restarts_total", "workers that were started again after an unexpected exit", ["service"]
)

log = logger("scaler")


class Replicas:
    """The pool. Not thread-safe; make it in the main thread, as the workers die with the thread that started them.

    command: of a worker. log_dir: the folder of their logs; None: our standard error. prefix: of their names; empty: of
    the service. env: added to this process's own; METRICS_PORT and REPLICA are set for each. targets: a folder
    in which each writes the address of its metrics. grace_s: from SIGTERM to SIGKILL. backoff: the wait before a
    restart, which grows from crash to crash and resets after healthy_s of running.
    """

    def __init__(
        self,
        service: str,
        command: Sequence[str],
        env: Mapping[str, str],
        log_dir: Path | None,
        *,
        prefix: str = "",
        targets: Path | None = None,
        grace_s: float = 30.0,
        backoff: Backoff = DELAYS,
        healthy_s: float = 30.0,
    ) -> None:
        self.service = service
        self.command = list(command)
        self.env = dict(env)
        self.log_dir = log_dir
        self.prefix = prefix or f"{service}-"
        self.targets = targets
        self.grace_s = grace_s
        self.backoff = backoff
        self.healthy_s = healthy_s
        self.restarts = 0
        self._active: list[_Replica] = []
        self._draining: set[_Replica] = set()
        self._spent_s = 0.0
        # A series that begins at 0 shows its first restart.
        RESTARTS.labels(service)
        if log_dir:
            log_dir.mkdir(parents=True, exist_ok=True)

    @property
    def count(self) -> int:
        """The number of requested replicas."""
        return len(self._active)

    @property
    def capacity(self) -> None:
        """No limit: only the ScaledObject's maximum applies."""

    @property
    def ready_count(self) -> int:
        """The replicas whose process is alive. The worker's `/readyz` reports whether its model is loaded."""
        return sum(r.is_alive for r in self._active)

    @property
    def dead_count(self) -> int:
        """The requested replicas whose process has died, and that have no other yet."""
        return sum(r.problem is not None and not r.is_alive for r in self._active)

    @property
    def draining_count(self) -> int:
        """The replicas that finish their messages in flight."""
        return len(self._draining)

    @property
    def replica_seconds(self) -> float:
        """The lifetime of all processes so far, in seconds."""
        living = (*self._active, *self._draining)
        return self._spent_s + sum(r.age_s for r in living)

    @property
    def names(self) -> list[str]:
        """Names of the requested replicas, the oldest first."""
        return [r.name for r in self._active]

    @property
    def pids(self) -> list[int]:
        """The process ids of live requested replicas, the oldest first. Each is a session of its own."""
        return [pid for r in self._active if (pid := r.pid) is not None]

    @property
    def ages(self) -> dict[str, float]:
        """The seconds that each live requested replica has run, by its name."""
        return {r.name: r.age_s for r in self._active if r.is_alive}

    @property
    def problems(self) -> list[Problem]:
        """The last death of each requested replica that has not run for `healthy_s` since."""
        return [r.problem for r in self._active if r.problem]

    async def scale_to(self, n: int) -> None:
        """Request `n` replicas. If there are more, the newest drain in the background."""
        while len(self._active) < n:
            self._active.append(_Replica(self, self._free_name(), self._spend))
        while len(self._active) > n:
            self._drain(self._active.pop())

    async def close(self) -> None:
        """Drain all, and return when every process has exited."""
        await self.scale_to(0)
        await asyncio.gather(*(r.task for r in self._draining))

    def _drain(self, replica: _Replica) -> None:
        self._draining.add(replica)
        replica.task.add_done_callback(lambda _: self._draining.discard(replica))
        replica.stop.set()

    def _free_name(self) -> str:
        """Return the lowest name that no replica has, draining ones included: log files stay few, and names unique."""
        taken = {r.name for r in (*self._active, *self._draining)}
        return next(name for i in range(len(taken) + 1) if (name := f"{self.prefix}{i}") not in taken)

    def _spend(self, seconds: float) -> None:
        self._spent_s += seconds


class _Replica:
    """One place in the pool, and the task that keeps a process in it until `stop` is set."""

    def __init__(self, pool: Replicas, name: str, spend: Callable[[float], None]) -> None:
        self.name = name
        self.stop = asyncio.Event()
        self._pool = pool
        self._spend = spend
        self._log_path = pool.log_dir / f"{name}.log" if pool.log_dir else None
        self._started: float | None = None
        self.pid: int | None = None
        self._crashes = 0
        self._death: Problem | None = None
        self.task = asyncio.create_task(self._keep(), name=name)

    @property
    def is_alive(self) -> bool:
        return self._started is not None

    @property
    def age_s(self) -> float:
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def problem(self) -> Problem | None:
        return self._death if self.age_s < self._pool.healthy_s else None

    async def _keep(self) -> None:
        while not self.stop.is_set():
            offset = self._log_size()
            try:
                process = await self._start()
            except OSError as e:
                log.error("worker can't be started", replica=self.name, command=self._pool.command, error=str(e))
                self._died(f"it can't be started: {e}")
            else:
                lived_s = await self._watch(process)
                if self.stop.is_set():
                    return
                if lived_s >= self._pool.healthy_s:
                    self._crashes, self._death = 0, None
                self._report(process.returncode, lived_s, offset)
            await self._back_off()

    async def _start(self) -> asyncio.subprocess.Process:
        with self._log_path.open("ab") if self._log_path else contextlib.nullcontext() as output:
            process = await asyncio.create_subprocess_exec(
                *child.bound(self._pool.command),
                env={
                    **os.environ,
                    **self._pool.env,
                    "METRICS_PORT": "0",
                    "METRICS_TARGETS": str(self._pool.targets or ""),
                    "REPLICA": self.name,
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The worker gets a session of its own: Ctrl-C at the terminal reaches us alone, and we drain it.
                start_new_session=True,
            )
        self._started, self.pid = time.monotonic(), process.pid
        return process

    async def _watch(self, process: asyncio.subprocess.Process) -> float:
        """Wait until the process exits, and end it when `stop` is set. Returns its lifetime in seconds."""
        exited = asyncio.create_task(process.wait())
        await supervise(exited, stop=self.stop)
        if not exited.done():
            await self._end(process, exited)
        if self._pool.targets:
            forget_targets(self._pool.targets, self.name)
        lived_s = self.age_s
        self._started = self.pid = None
        self._spend(lived_s)
        return lived_s

    async def _end(self, process: asyncio.subprocess.Process, exited: asyncio.Task[int]) -> None:
        _signal(process.send_signal, signal.SIGTERM)
        done, _ = await asyncio.wait((exited,), timeout=self._pool.grace_s)
        if not done:
            log.warning("worker killed, as it did not drain in time", replica=self.name, grace_s=self._pool.grace_s)
            # Kill the whole session: a worker for several GPUs has processes of its own.
            _signal(lambda s: os.killpg(process.pid, s), signal.SIGKILL)
            await exited

    async def _back_off(self) -> None:
        self._crashes += 1
        try:
            async with asyncio.timeout(self._pool.backoff.after(self._crashes)):
                await self.stop.wait()
        except TimeoutError:
            self._pool.restarts += 1
            RESTARTS.labels(self._pool.service).inc()

    def _report(self, code: int | None, lived_s: float, offset: int) -> None:
        """Log how a process ended unexpectedly, and remember its last error."""
        tail = self._tail(offset)
        error = last_error.sentence(code, tail, last_error.secrets_of({**os.environ, **self._pool.env}))
        self._died(error)
        facts = {"replica": self.name, "code": code, "lived_s": round(lived_s, 1), "error": error}
        facts["log"] = str(self._log_path or "")
        last_lines = "\n".join(tail[-TAIL_BYTES:].splitlines()[-TAIL_LINES:])
        if code == BAD_CONFIGURATION:
            log.error("worker can't run as it is configured: correct what it says", **facts, last_lines=last_lines)
        else:
            log.warning("worker exited and will be restarted", **facts, last_lines=last_lines)

    def _died(self, sentence: str) -> None:
        """Record a death. Those in a row are one problem, which began with the first."""
        since = self._death.since if self._death else dt.datetime.now(dt.UTC)
        service, text = self._pool.service, last_error.clean(sentence)
        self._death = Problem(service=service, replica=self.name, since=since, sentence=text, kind="died")

    def _log_size(self) -> int:
        return self._log_path.stat().st_size if self._log_path and self._log_path.exists() else 0

    def _tail(self, offset: int) -> str:
        """Return the end of this run's output. The part before `offset` is from earlier runs."""
        if not self._log_path or not self._log_size():
            return ""
        return logs.since(self._log_path, offset)[-last_error.TAIL_BYTES :]


def _signal(send: Callable[[int], None], number: int) -> None:
    try:
        send(number)
    except ProcessLookupError:
        pass  # it has already exited
