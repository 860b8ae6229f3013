"""Work by a cluster of Ray, through a process that is connected to it: `tidegate.archive.ray_driver`.

    with on_ray.cluster(address) as engine:
        for looked in engine.looked(job, todo, size): ...

Ray starts the workers of a machine that has gone again, but waits for ever where the others have no room for them. Then
the process ends, what it held is free, and another one does what is left. Nothing is done twice: it is written.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from shared.runtime.errors import SettingError, TidegateError
from tidegate.archive import ray_driver
from tidegate.archive.child import Child, Ended
from tidegate.archive.following import Course, Followed
from tidegate.archive.job import Job, Piece
from tidegate.archive.looking import Looked
from tidegate.archive.probe import Probed
from tidegate.archive.ray_driver import Room
from tidegate.archive.reading import Size

# So often in a row it is begun anew without a piece that was done.
TRIES = 3
_CONNECT_S, _END_S = 10.0, 20.0
# Pieces of one stream: Ray keeps a record of each.
_AT_ONCE = 2000


class OnRay:
    """address: of a cluster; None starts Ray on this machine. device: of the model. threads: of it in each worker.
    most: workers, if that was said; else as many as there is room for.
    """

    def __init__(self, address: str | None, device: str, threads: int, most: int | None) -> None:
        self._address, self._threads, self._most = address, threads, most
        self._on_gpu = device.startswith("cuda")
        self._name = f"Ray at {address}" if address else "the Ray of this machine"
        self._driver: Child | None = None
        self.room = self._connected()

    def close(self) -> None:
        if self._driver:
            self._driver.end()

    @property
    def workers(self) -> int:
        return self._most or max(1, int(self.room.gpus if self._on_gpu else self.room.cpus / self._threads))

    def probe(self, job: Job, pieces: Sequence[Piece]) -> Probed:
        """On a machine of the kind that looks. Raises TidegateError."""
        (found,) = self._tried(lambda: self._asked("probe", job, pieces, self._threads))
        return found  # type: ignore[no-any-return]

    def looked(self, job: Job, todo: Sequence[Piece], size: Size) -> Iterator[Looked]:
        """Each piece, as it is done. Raises TidegateError."""
        left = {piece.key: piece for piece in todo}

        def ask() -> Iterator[Looked]:
            some = list(islice(left.values(), _AT_ONCE))
            return self._asked("looked", job, some, size, self.room, self.workers, self._threads)

        while left:
            for one in self._tried(ask):
                if left.pop(one.key, None):
                    yield one

    def followed(self, job: Job, todo: Sequence[Course]) -> Iterator[Followed]:
        """Each camera, as it is done. Raises TidegateError."""
        left = {course.camera: course for course in todo}
        for one in self._tried(lambda: self._asked("followed", job, list(left.values()))):
            if left.pop(one.camera, None):
                yield one

    def _connected(self) -> Room:
        """Raises SettingError."""
        self.close()
        if self._address:
            _check(self._address)
        self._driver = Child(ray_driver.serve, (self._address,), ends_s=_END_S)
        try:
            room: Room = self._driver.answer()
        except Ended:
            raise SettingError(f"there is no {self._name}: its process has ended") from None
        if self._on_gpu and not (room.gpus or self._most):
            raise SettingError(
                f"{self._name} has no GPU now: give --workers how many it may get as it needs them, or --device cpu"
            )
        return room

    def _asked(self, what: str, *arguments: Any) -> Iterator[Any]:
        """Raises Ended where the process has, and TidegateError."""
        assert self._driver
        self._driver.give((what, arguments))
        while (one := self._driver.answer()) is not None:
            yield one

    def _tried(self, ask: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """What is answered, and asked for once more where the process has ended on the way. Raises TidegateError."""
        tries = TRIES
        while True:
            try:
                for one in ask():
                    tries = TRIES
                    yield one
                return
            except Ended:
                tries -= 1
                if not tries:
                    raise TidegateError(f"{self._name} has ended {TRIES} times: see its own log") from None
                self.room = self._connected()


@contextlib.contextmanager
def cluster(address: str | None, *, device: str = "cpu", threads: int = 1, most: int | None = None) -> Iterator[OnRay]:
    """address: `auto`, or such as `head:6379`; None starts Ray on this machine. Raises SettingError."""
    engine = OnRay(address, device, threads, most)
    try:
        yield engine
    finally:
        engine.close()


def _check(address: str) -> None:
    """Raises SettingError where nothing listens: Ray asks for minutes. Other forms of an address it knows itself."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as e:
        raise SettingError(f"there is no Ray at {address}: {e}") from e
