"""Execution of a run by a Ray cluster, through a process that is connected to it: `ray_driver`.

    with ray_engine.cluster(address) as engine:
        for totals in engine.analyze(job, todo, size): ...

Ray restarts the workers of a lost machine, but waits for ever if the other machines have no capacity for them. In that
case the driver process exits, which frees its resources, and a new one does the remaining pieces.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from shared.runtime.errors import SettingError, TidegateError
from tidegate.archive.engines import ray_driver
from tidegate.archive.engines.child import Child, ChildExited
from tidegate.archive.engines.ray_driver import Capacity
from tidegate.archive.frames.analysis import AnalysisTotals
from tidegate.archive.frames.decoding import Size
from tidegate.archive.frames.probe import ProbeResult
from tidegate.archive.frames.tracking import TrackingTask, TrackingTotals
from tidegate.archive.job import Job, Piece

# Maximum consecutive starts of the driver without a finished piece.
TRIES = 3
_CONNECT_S, _END_S = 10.0, 20.0
# Maximum pieces of one stream: Ray keeps a record of each.
_STREAM_PIECES = 2000


class RayEngine:
    """See the module.

    address: of a cluster; None starts Ray on this machine. device: of the model. threads: of the model in each worker.
    max_workers: None: the capacity of the cluster.
    """

    def __init__(self, address: str | None, device: str, threads: int, max_workers: int | None) -> None:
        self._address, self._threads, self._max_workers = address, threads, max_workers
        self._on_gpu = device.startswith("cuda")
        self._name = f"Ray at {address}" if address else "the Ray of this machine"
        self._driver: Child | None = None
        self.capacity = self._connect()

    def close(self) -> None:
        if self._driver:
            self._driver.end()

    @property
    def workers(self) -> int:
        fitting = self.capacity.gpus if self._on_gpu else self.capacity.cpus / self._threads
        return self._max_workers or max(1, int(fitting))

    def probe(self, job: Job, pieces: Sequence[Piece]) -> ProbeResult:
        """Measure the models on a machine with the resources of a worker. Raises TidegateError."""
        (result,) = self._with_retries(lambda: self._request("probe", job, pieces, self._threads))
        return result  # type: ignore[no-any-return]

    def analyze(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[AnalysisTotals]:
        """Yield the totals of each piece as it finishes. Raises TidegateError."""
        left = {piece.key: piece for piece in todo}

        def request() -> Iterator[AnalysisTotals]:
            batch = list(islice(left.values(), _STREAM_PIECES))
            return self._request("analyze", job, batch, size, self.capacity, self.workers, self._threads)

        while left:
            for totals in self._with_retries(request):
                if left.pop(totals.key, None):
                    yield totals

    def track(self, job: Job, todo: Sequence[TrackingTask]) -> Iterator[TrackingTotals]:
        """Yield the totals of each camera as it finishes. Raises TidegateError."""
        left = {task.camera: task for task in todo}
        for totals in self._with_retries(lambda: self._request("track", job, list(left.values()))):
            if left.pop(totals.camera, None):
                yield totals

    def _connect(self) -> Capacity:
        """Start a driver process, and return the cluster's capacity. Raises SettingError."""
        self.close()
        if self._address:
            _check(self._address)
        self._driver = Child(ray_driver.serve, (self._address,), ends_s=_END_S)
        try:
            capacity: Capacity = self._driver.receive()
        except ChildExited:
            raise SettingError(f"there is no {self._name}: its process has ended") from None
        if self._on_gpu and not (capacity.gpus or self._max_workers):
            raise SettingError(
                f"{self._name} has no GPU now: give --workers how many it may get as it needs them, or --device cpu"
            )
        return capacity

    def _request(self, command: str, *arguments: Any) -> Iterator[Any]:
        """Yield the results of a command. Raises ChildExited and TidegateError."""
        assert self._driver
        self._driver.send((command, arguments))
        while (result := self._driver.receive()) is not None:
            yield result

    def _with_retries(self, request: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Yield the results of a request, which is repeated if the driver exits meanwhile. Raises TidegateError."""
        tries = TRIES
        while True:
            try:
                for result in request():
                    tries = TRIES
                    yield result
                return
            except ChildExited:
                tries -= 1
                if not tries:
                    raise TidegateError(f"{self._name} has ended {TRIES} times: see its own log") from None
                self.capacity = self._connect()


@contextlib.contextmanager
def cluster(
    address: str | None, *, device: str = "cpu", threads: int = 1, max_workers: int | None = None
) -> Iterator[RayEngine]:
    """Connect to a cluster. address: `auto`, or such as `head:6379`; None starts Ray on this machine.

    Raises SettingError.
    """
    engine = RayEngine(address, device, threads, max_workers)
    try:
        yield engine
    finally:
        engine.close()


def _check(address: str) -> None:
    """Fail early if nothing listens, as Ray retries for minutes. Ray checks other forms of an address itself.

    Raises SettingError.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as e:
        raise SettingError(f"there is no Ray at {address}: {e}") from e
