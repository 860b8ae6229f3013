"""Rates, latencies, curves and the view, without a server; and what the monitor gathers from a real one."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import signal
import sys

import pytest
from nats.aio.client import Client
from rich.console import Console

from shared.client import registry
from shared.client.rates import Latencies, Latest, Rate, quantile
from shared.contract import events, names
from shared.contract.cameras import Camera
from shared.contract.events import CameraStatus, DetectedObject, Detections, Frame, SegmentRef, Timing
from shared.contract.segment import Segment, to_headers
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from tests.support.waiting import until
from tests.support.worlds.scalers import IDLE
from tidegate.local.server import NatsServer
from tidegate.view.monitor import MOST_WORKERS, CameraNow, Monitor, Sample, SystemNow, WorkerNow
from tidegate.view.terminal import LiveView, curve, line

# ---- rates


def test_rate_of_even_arrivals_is_exact_from_the_second_on() -> None:
    rate = Rate()
    for n in range(2, 20):
        for at in range(n):
            rate = rate if at else Rate()
            rate.add(float(at), 25)
        assert rate.per_second(n - 1.0) == 25.0
        assert rate.per_second(n - 0.5) == 25.0, "the next one is not due yet"


def test_rate_falls_to_zero_after_arrivals_stop() -> None:
    rate = Rate(window_s=6)
    for at in range(6):
        rate.add(float(at), 25)
    falling = [rate.per_second(at) for at in (5.0, 7.0, 8.5, 10.0, 12.0)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == 25.0 and falling[-1] == 0.0


def test_two_simultaneous_arrivals_are_no_flood() -> None:
    rate = Rate()
    rate.add(10.0)
    rate.add(10.01)
    assert rate.per_second(10.02) <= 1.0


def test_rate_needs_two_arrivals() -> None:
    rate = Rate()
    assert rate.per_second(0.0) == 0.0
    rate.add(0.0, 25)
    assert rate.per_second(0.0) == 0.0


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [([], 0.5, None), ([7.0], 0.99, 7.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([*map(float, range(1, 101))], 0.99, 99.0)],
)
def test_quantile_is_the_nearest_rank(values: list[float], q: float, expected: float | None) -> None:
    assert quantile(values, q) == expected


def test_latencies_outside_the_window_are_forgotten() -> None:
    latencies = Latencies(window_s=5)
    latencies.add(0.0, 9.0)
    latencies.add(4.0, 1.0)
    assert latencies.quantile(0.99, 4.0) == 9.0
    assert latencies.quantile(0.99, 6.0) == 1.0
    assert latencies.quantile(0.99, 60.0) is None


def test_objects_disappear_when_analysis_stops() -> None:
    seen = Latest(fresh_s=10)
    assert seen.now(0.0) == {}
    seen.add(5.0, {"person": 2}, start=100.0, duration=1.0)
    assert seen.now(6.0) == seen.now(15.9) == {"person": 2}
    assert seen.now(16.1) == {}


def test_objects_stay_between_long_segments() -> None:
    seen = Latest(fresh_s=10)
    seen.add(0.0, {"dog": 1}, start=100.0, duration=30.0)
    assert seen.now(35.0) == {"dog": 1}
    assert seen.now(41.0) == {}


def test_the_later_segment_counts_in_any_order_until_it_expires() -> None:
    seen = Latest(fresh_s=10)
    seen.add(0.0, {"dog": 1}, start=101.0, duration=1.0)
    seen.add(0.1, {"cat": 1}, start=100.0, duration=1.0)
    assert seen.now(1.0) == {"dog": 1}
    # A clock that was set back: what it calls now is earlier than what was seen.
    seen.add(30.0, {"cat": 1}, start=50.0, duration=1.0)
    assert seen.now(30.0) == {"cat": 1}
    seen.add(31.0, {}, start=51.0, duration=1.0)
    assert seen.now(31.0) == {}


# ---- the view


def test_curve_shows_the_peak_in_full_and_small_values_as_nonzero() -> None:
    top, bottom = curve([0, 0, 1, 100, 0, 0, 0, 0, 0, 0], 10)
    assert (top[3], bottom[3]) == ("█", "█")
    assert (top[2], bottom[2]) == (" ", "▁")
    assert bottom[0] == " "


def test_curve_stays_within_its_columns_and_keeps_peaks() -> None:
    values = [0.0] * 500 + [9.0] + [0.0] * 500
    top, bottom = curve(values, 40)
    assert len(top) == len(bottom) == 40
    assert "█" in top
    assert curve([], 40) == ("", "")


def snapshot(cameras: int) -> SystemNow:
    return SystemNow(
        cameras=[
            CameraNow(
                id=f"camera-with-a-long-name-{n}",
                state="online" if n else "offline",
                reason="" if n else "the camera refuses the credentials",
                fps_in=25.0,
                fps_analysed=5.0,
                seen={"person": 2, "dog": 1},
                p50=0.8,
                p99=12.0,
            )
            for n in range(cameras)
        ],
        workers=[WorkerNow(replica=f"cv-{n}", state="ready", busy=0.5) for n in range(4)],
        scaler=IDLE,
        latest=sample(10.0),
    )


def sample(at: float, pending: int = 3) -> Sample:
    return Sample(
        at=at,
        segments_in=2.0,
        segments_out=1.5,
        pending=pending,
        ack_pending=2,
        desired=1,
        replicas=1,
        cameras_online=2,
    )


class Still:
    """A monitor that stands still."""

    def __init__(self, cameras: int) -> None:
        self.elapsed = 65.0
        self.samples = [sample(n / 2, n % 9) for n in range(130)]
        self._snapshot = snapshot(cameras)

    def snapshot(self) -> SystemNow:
        return self._snapshot


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40)])
@pytest.mark.parametrize("cameras", [0, 2, 60])
def test_view_fits_the_terminal(size: tuple[int, int], cameras: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=size[0], height=size[1], force_terminal=True, color_system=None)
    view = LiveView(Still(cameras), title="up", story=lambda: "a story", console=console)  # type: ignore[arg-type]
    console.print(view.render())
    lines = out.getvalue().splitlines()
    assert len(lines) <= size[1] - 1
    assert max(map(len, lines)) <= size[0]
    assert "a story" in out.getvalue()
    if cameras > 40:
        assert "more" in out.getvalue()


async def test_log_lines_stay_in_the_file_that_takes_them_while_the_view_is_live() -> None:
    """rich puts what is written to standard error above its view, wherever that goes."""
    shown, log = io.StringIO(), io.StringIO()
    console = Console(file=shown, width=100, height=30, force_terminal=True, color_system=None)
    with contextlib.redirect_stderr(log):
        async with LiveView(Still(2), title="up", console=console):  # type: ignore[arg-type]
            print("scaled up", file=sys.stderr)
    assert log.getvalue() == "scaled up\n" and "scaled up" not in shown.getvalue()


def test_one_line_has_the_whole_state_without_a_terminal() -> None:
    text = line(snapshot(2), 65.0, "surge").plain
    for part in (
        "01:05",
        "2 cameras online",
        "pending 3",
        "in flight 2",
        "1 worker",
        "surge",
        "person \N{MULTIPLICATION SIGN}2",
    ):
        assert part in text


# ---- a real server


def status(camera: str, state: str = "online") -> CameraStatus:
    now = dt.datetime.now(dt.UTC)
    return CameraStatus(camera=camera, time=now, state=state, reason="", url="rtsp://x", ingest="test")  # type: ignore[arg-type]


def detections(camera: str, n: int, label: str, start: dt.datetime) -> Detections:
    return Detections(
        camera=camera,
        segment=SegmentRef(stream="MEDIA", seq=n + 1, epoch="e", n=n),
        start=start,
        duration=1.0,
        model="test",
        frames=[Frame(time=start, objects=[DetectedObject(label=label, score=0.9, box=(0, 0, 1, 1))])],
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
    )


def beat(replica: str, busy_s: float = 0.0) -> bytes:
    return stats.encode(
        WorkerStats(
            service="cv", replica=replica, pid=1, state="ready", model="m", uptime_s=1, in_flight=0, processed=0,
            failed=0, items=0, busy_s=busy_s, working_s=busy_s,
        )
    )  # fmt: skip


async def say(client: Client, event: events.Event, id: str) -> None:
    headers = events.headers(event, id=id, source="/test")
    await client.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


@pytest.mark.slow
async def test_monitor_gathers_cameras_segments_detections_and_workers(admin: Client) -> None:
    js = admin.jetstream()
    await registry.put(js, "lobby", Camera(url="rtsp://x"), None)
    await say(admin, status("lobby"), "before")
    async with Monitor(admin, lambda: IDLE) as monitor:
        await until(lambda: [c.state for c in monitor.snapshot().cameras] == ["online"])
        start = dt.datetime.now(dt.UTC)
        for n in range(3):
            head = Segment(
                camera="lobby", epoch="e", n=n, start=start, duration=1.0, codec="h264", width=64, height=48, frames=25
            )
            await js.publish(names.media("lobby"), b"x" * 1000, headers=to_headers(head))
            await asyncio.sleep(0.5)
        # The later segment comes first: what is seen now stays what the later one showed.
        await say(admin, detections("lobby", 1, "dog", start + dt.timedelta(seconds=1)), "1")
        await say(admin, detections("lobby", 0, "cat", start), "0")
        for busy in (1.0, 2.0):
            # A worker of another service may claim to be one of cv, but only on its own subject.
            await admin.publish(names.stats("embed", "cv-1"), beat("cv-1", busy))
            await admin.publish(names.stats("cv", "cv-0"), beat("cv-0", busy))
            await asyncio.sleep(0.1)
        await until(lambda: monitor.snapshot().cameras[0].p99 is not None and monitor.snapshot().workers)
        camera = monitor.snapshot().cameras[0]
        assert camera.seen == {"dog": 1}
        assert 25 < camera.fps_in <= 75
        assert camera.p99 is not None and 0 < camera.p99 < 5
        assert [w.replica for w in monitor.snapshot().workers] == ["cv-0"]
        assert monitor.samples[-1].cameras_online == 1
        # Nothing is analysed any more, though the camera is still online: its worker has gone.
        await until(lambda: not monitor.snapshot().cameras[0].seen)
        assert monitor.snapshot().cameras[0].state == "online"


@pytest.mark.slow
async def test_monitor_starts_while_the_server_is_away(server: NatsServer, admin: Client) -> None:
    await registry.put(admin.jetstream(), "lobby", Camera(url="rtsp://x"), None)
    await say(admin, status("lobby"), "before")
    await server.stop(signal.SIGKILL)
    monitor = Monitor(admin, lambda: IDLE)
    beginning = asyncio.create_task(monitor.__aenter__())
    await asyncio.sleep(6.0)  # clock: the outage outlasts one request
    assert not beginning.done(), "longer than one request is waited for"
    await server.start()
    await beginning
    await until(lambda: [c.state for c in monitor.snapshot().cameras] == ["online"])
    await monitor.__aexit__(None, None, None)


async def test_monitor_drops_removed_cameras_and_ignores_invalid_data(admin: Client) -> None:
    js = admin.jetstream()
    async with Monitor(admin, lambda: IDLE) as monitor:
        await registry.put(js, "lobby", Camera(url="rtsp://x", enabled=False), None)
        await until(lambda: [c.state for c in monitor.snapshot().cameras] == ["disabled"])
        await js.publish("media.lobby", b"", headers={"Camera": "?"})
        await js.publish("events.detections.lobby", b"nonsense")
        await js.publish("events.cameras.lobby", b"{}")
        await registry.put(js, "yard", Camera(url="rtsp://x"), None)
        await until(lambda: [c.id for c in monitor.snapshot().cameras] == ["lobby", "yard"])
        await registry.remove(js, "lobby")
        await until(lambda: [c.id for c in monitor.snapshot().cameras] == ["yard"])


async def test_monitor_limits_the_number_of_workers(admin: Client) -> None:
    async with Monitor(admin, lambda: IDLE) as monitor:
        for n in range(3 * MOST_WORKERS):
            await admin.publish(names.stats("cv", f"cv-{n}"), beat(f"cv-{n}"))
        await until(lambda: monitor.snapshot().workers)
        await admin.flush()
        assert len(monitor.snapshot().workers) <= MOST_WORKERS
