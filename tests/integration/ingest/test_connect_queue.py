"""Connecting to cameras: a limited number at a time, likely ones first, and none waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.ingest.camera import connect_queue
from services.ingest.camera.connect_queue import ConnectQueue
from services.ingest.camera.runner import CameraLease, Runner
from services.ingest.camera.status import Announcer
from services.ingest.camera.stop import Stop, StopCause
from services.ingest.camera.stream_runner import ProcessParts
from services.ingest.delivery.outbox import Outboxes
from services.ingest.delivery.publisher import Publisher
from services.ingest.settings import IngestSettings
from shared.contract import names
from shared.contract.cameras import new_camera
from shared.contract.credentials import Login
from shared.runtime.tasks import end
from tests.support.video import footage
from tests.support.video.rtsp_server import serving
from tests.support.waiting import until


class Line:
    """Cameras that ask for a place; each has it until the test releases it."""

    def __init__(self, attempts: ConnectQueue) -> None:
        self._connect_queue = attempts
        self.begun: list[int] = []
        self.places: dict[int, asyncio.Event] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, failures: int) -> int:
        n = len(self.tasks)
        self.tasks.append(asyncio.create_task(self._try(n, failures)))
        return n

    async def _try(self, n: int, failures: int) -> None:
        await self._connect_queue.begin(failures)
        self.begun.append(n)
        self.places[n] = asyncio.Event()
        try:
            await self.places[n].wait()
        finally:
            del self.places[n]
            self._connect_queue.end(failed=False)


async def settle() -> None:
    """Run the loop until all permitted cameras have begun."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> int:
    """Reduce the number of places, and return it."""
    monkeypatch.setattr(connect_queue, "MOST", 3)
    return 3


async def test_the_camera_with_fewer_failures_goes_first(places: int) -> None:
    line = Line(ConnectQueue())
    for failures in [0] * places + [10, 1, 10, 3, 1, 0, 0]:
        line.ask(failures)
        await settle()
    for _ in range(len(line.tasks)):
        line.places[min(line.places)].set()
        await settle()
    waited = [n - places for n in line.begun[places:]]
    assert waited == [6, 5, 1, 4, 3, 0, 2], "never tried, the newest first; then by failures, first come, first served"


async def test_a_camera_that_failed_for_days_does_not_wait_for_recent_failures(places: int) -> None:
    line = Line(ConnectQueue())
    for failures in [0] * places + [100_000, 50]:
        line.ask(failures)
        await settle()
    line.places[0].set()
    await settle()
    assert line.begun[-1] == places
    await end(*line.tasks)


async def test_a_failure_occupies_its_place_for_a_while(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect_queue, "_COOLDOWN_S", 0.1)
    tries = ConnectQueue()
    for _ in range(places):
        await tries.begin(0)
    next = asyncio.create_task(tries.begin(0))
    tries.end(failed=True)
    await settle()
    assert not next.done()
    await until(next.done)


@given(st.lists(st.tuples(st.sampled_from(["ask", "end", "cancel"]), st.integers(0, 12)), max_size=60))
def test_the_queue_holds_its_invariants(steps: list[tuple[str, int]]) -> None:
    async def go() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connect_queue, "MOST", 3)
            line = Line(ConnectQueue())
        for step, n in steps:
            if step == "ask":
                line.ask(n)
            elif step == "end" and line.places:
                line.places[sorted(line.places)[n % len(line.places)]].set()
            elif step == "cancel" and line.tasks:
                line.tasks[n % len(line.tasks)].cancel()
            if n % 2:
                await settle()
            assert len(line.places) <= 3
        await settle()
        waiting = sum(not task.done() for task in line.tasks) - len(line.places)
        assert not waiting or len(line.places) == 3, "nobody waits while there is a place"
        await end(*line.tasks)

    asyncio.run(go())


@contextlib.contextmanager
def unreachable() -> Iterator[tuple[int, int]]:
    """Two ports: one refuses, one does not answer."""
    with contextlib.ExitStack() as stack:
        refusing, silent = (stack.enter_context(socket.socket()) for _ in range(2))
        refusing.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        # The kernel answers only one connection that nobody accepts.
        silent.listen(0)
        for _ in range(2):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(silent.getsockname())
        yield refusing.getsockname()[1], silent.getsockname()[1]


def trying() -> int:
    return sum(thread.name.startswith("camera ") for thread in threading.enumerate())


@pytest.mark.slow
async def test_a_camera_among_thousands_of_unreachable_ones_is_online_soon(admin: Client, tmp_path: Path) -> None:
    footage.make(tmp_path / "lobby.mp4")
    js = admin.jetstream()
    announcer = Announcer(admin, js, "ingest-1")
    announcing = asyncio.create_task(announcer.run())
    settings = IngestSettings(ingest_timeout_s=20)
    publisher, outboxes, places = Publisher(admin, js), Outboxes(1 << 30), ConnectQueue()
    parts = ProcessParts(settings, admin.max_payload, publisher, outboxes, places, announcer)
    runners: list[Runner] = []

    def run(name: str, url: str) -> None:
        camera, _ = new_camera(url)
        lease = CameraLease(lambda: True, lambda: True, lambda: False, lambda _, also: None)
        runners.append(Runner(name, camera, Login(), parts, lease))
        runners[-1].start()

    arrived = asyncio.Event()

    async def hear(_: object) -> None:
        arrived.set()

    await admin.subscribe(names.media("lobby"), cb=hear)
    with serving(tmp_path, tmp_path / "log") as rtsp, unreachable() as ports:
        for n in range(2000):
            run(f"gone{n}", f"rtsp://127.0.0.1:{ports[n % 2]}/")
        await until(lambda: trying() >= connect_queue.MOST // 2)
        run("lobby", f"{rtsp}/lobby.mp4?play_count=0")
        most = 0

        def online() -> bool:
            nonlocal most
            most = max(most, trying())
            return arrived.is_set()

        await until(online)
        assert most <= connect_queue.MOST + 1, "and the one that is online"
        await asyncio.gather(*(runner.stop(Stop(StopCause.NOT_BEGUN), 0.0) for runner in runners))
    await end(announcing)
