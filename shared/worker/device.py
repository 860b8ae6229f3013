"""The device: turns batches of prepared messages into results, one batch per slot at a time.

A batch that fails is retried one item at a time, so that a bad item fails alone. A device is broken if it fails on
every input, or if a batch hangs on it. It can't be repaired from here, but its process can be restarted.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from shared.runtime.errors import Away, BadMessage, TidegateError
from shared.runtime.telemetry import logger
from shared.worker import metrics, scheduling
from shared.worker.counts import WorkCounts
from shared.worker.service import Message, P, Prepared, R, Service

Pco = TypeVar("Pco", bound=Prepared, covariant=True)


class DeviceError(TidegateError):
    """The device fails on every input."""


@dataclass(slots=True, eq=False)
class Item(Generic[P]):
    """A prepared message on its way through batches and the device."""

    message: Message
    prepared: P

    @property
    def weight(self) -> int:
        return self.prepared.weight


class Work(Protocol):
    """origin: its identity. infer_s: seconds on the device, which sets it."""

    origin: str
    infer_s: float


class DeviceInput(Protocol[Pco]):
    """Input of the device: an `Item`, or one without a message."""

    @property
    def message(self) -> Work: ...

    @property
    def prepared(self) -> Pco: ...

    @property
    def weight(self) -> int: ...


@dataclass(slots=True)
class _Run:
    """Measures a run of the device as a context, without the wait for its thread. Monotonic seconds."""

    started: float = 0.0
    seconds: float = 0.0

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self.started


class Device(Generic[P, R]):
    """See the module. The device is a server if `service.infer` is a coroutine: a server has its own time limits.

    slots: concurrent batches. failures: how many different messages in a row must fail, each alone, to blame the
    device.
    """

    def __init__(self, service: Service[P, R], counts: WorkCounts, *, slots: int, failures: int) -> None:
        self.is_server = inspect.iscoroutinefunction(service.infer)
        self._service = service
        self._counts = counts
        self._slots = slots
        self._most_failures = failures
        self._failed: set[str] = set()  # origins, since the device's last success
        # When its thread began its batch, monotonic seconds; None: it has none.
        self.computing_since: float | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._log = logger("worker")

    def open(self) -> None:
        """Start its thread. The calling thread, and those that it starts, leave the cores to it until `close`."""
        if not self.is_server:
            scheduling.wait_for_cores()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device", initializer=scheduling.take_cores)

    def close(self) -> None:
        """Release its thread, without waiting for its computation."""
        scheduling.take_cores()
        if self._thread:
            self._thread.shutdown(wait=False)

    async def infer(self, batch: Sequence[DeviceInput[P]]) -> Sequence[R | Exception]:
        """Return results, or the errors of the items that fail even alone. Raises DeviceError."""
        try:
            results = await self._compute(batch)
            self._failed.clear()
            return results
        except Exception as e:
            if isinstance(e, Away) and not self.is_server:
                raise DeviceError(str(e)) from e
            if len(batch) == 1:
                self._blame(batch[0], e)
                return [e]
            self._log.warning("batch failed, trying one by one", size=len(batch), error=repr(e))
            return [(await self.infer([item]))[0] for item in batch]

    def _blame(self, item: DeviceInput[P], error: Exception) -> None:
        if self.is_server or isinstance(error, BadMessage):
            return
        self._failed.add(item.message.origin)
        if len(self._failed) >= self._most_failures:
            raise DeviceError(f"the device fails whatever it is given: {error!r}") from error

    async def _compute(self, batch: Sequence[DeviceInput[P]]) -> Sequence[R]:
        run = _Run()
        try:
            results = await self._run(run, [item.prepared for item in batch])
        finally:
            items = sum(item.weight for item in batch)
            name = self._service.name
            self._counts.busy_s += run.seconds / self._slots
            self._counts.items += items
            metrics.BUSY.labels(name).inc(run.seconds / self._slots)
            metrics.ITEMS.labels(name).inc(items)
            metrics.BATCH.labels(name).observe(items)
            metrics.STAGE.labels(name, "infer").observe(run.seconds)
            for item in batch:
                item.message.infer_s = run.seconds
        if len(results) != len(batch):
            raise RuntimeError(f"{name}: infer gave {len(results)} results for {len(batch)} messages")
        return results

    async def _run(self, run: _Run, batch: list[P]) -> Sequence[R]:
        if self.is_server:
            with run:
                return await cast("Awaitable[Sequence[R]]", self._service.infer(batch))
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread, run, batch)

    def _in_thread(self, run: _Run, batch: list[P]) -> Sequence[R]:
        with run:
            self.computing_since = run.started
            try:
                return cast("Sequence[R]", self._service.infer(batch))
            finally:
                self.computing_since = None
