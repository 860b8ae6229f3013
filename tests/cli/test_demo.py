"""`tidegate demo` as people run it: a process of its own, with real cameras, detector and workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.cv.detectors import openvino_ssd
from services.scaler.demand import parameters, warming
from services.scaler.demand.parameters import DemandSettings
from shared.contract.cameras import new_camera
from shared.contract.names import check_camera
from shared.runtime.errors import SettingError
from tests.support.waiting import patience_s
from tidegate.demo import demo, footage, scenario, sizing
from tidegate.keda import hpa
from tidegate.local.scaling import scaled_objects
from tidegate.local.scaling.scaled_objects import scaled_object

# ---- what it decides, without running it


@given(st.floats(2.5, 90))
def test_two_cores_have_six_cameras_with_any_rounding(rate: float) -> None:
    load = sizing.fit(rate, 2)
    assert load.cameras == 6 or rate < 10
    assert 1.3 < load.surge <= 1.601


@pytest.mark.parametrize("cores", [1, 2, 4, 64])
@pytest.mark.parametrize("rate", [0.5, 4.0, 35.0, 250.0, 5000.0])
def test_load_fits_any_machine(rate: float, cores: int) -> None:
    load = sizing.fit(rate, cores)
    assert 2 <= load.workers <= 4
    assert sizing.CALM_CAMERAS < load.cameras <= sizing.MOST_CAMERAS
    new_camera("rtsp://127.0.0.1/x", fps=load.fps)
    if cores > 1 and 4 <= rate <= 100:
        assert sizing.CALM_CAMERAS * load.fps == pytest.approx(sizing.CALM_SHARE * rate, abs=0.2)
        assert 1.3 <= load.surge <= load.workers - sizing.OVERHEAD_CORES + 0.05, "more than one worker, less than all"


def test_the_scaled_object_changes_only_what_the_hardware_decides() -> None:
    given = scaled_object("cv")
    load = sizing.fit(16.0, 2)
    fitted = sizing.fit_scaled_object(given, load, clock=6.0)
    assert fitted.spec.max_replica_count == 2
    (queries,) = scaled_objects.demand_queries(fitted)
    assert queries.service == "cv"
    assert queries.settings == DemandSettings(
        latency_target_s=12.0, cold_start_s=48.0, lag_threshold=load.lag_threshold
    )
    back = msgspec.structs.replace(
        fitted,
        spec=msgspec.structs.replace(fitted.spec, max_replica_count=given.spec.max_replica_count),
        triggers=given.triggers,
        limit=given.limit,
    )
    assert back == given


@pytest.mark.parametrize("seconds", [40, 90, 300])
def test_clock_runs_fast_enough_for_the_story(seconds: int) -> None:
    """The HPA syncs several times in each phase, and an idle site scales down before the night is over."""
    faster = scenario.speed(seconds)
    assert hpa.SYNC_S / faster < scenario.CALM * seconds / 2
    hold = max(warming.HPA_SYNC_S, parameters.HOLD_COLD_STARTS * scaled_objects.COLD_START_S * faster)
    quiet = max(parameters.MIN_IDLE_S, parameters.IDLE_DELAYS * hold)
    cooldown = scaled_object("cv").spec.cooldown_period
    assert seconds < 90 or (quiet + cooldown) / faster < scenario.NIGHT * seconds + scenario.MOST_EXTRA_S


def test_places_have_distinct_descriptive_ids() -> None:
    urls = [
        "rtsp://127.0.0.1:1/stop.mp4?play_count=0",
        "rtsp://admin:secret@10.0.0.7/",
        "rtsp://10.0.0.8/a b%20/Stream 1",
    ]
    planned = scenario.planned_cameras(urls, 8)
    assert len({p.id for p in planned}) == 8
    assert planned[0].id == "stop" and planned[3].id == "stop-2"
    for camera in planned:
        check_camera(camera.id)
        assert "secret" not in camera.id
    assert planned[4].url == urls[1]


# ---- the whole of it


@pytest.fixture(scope="module")
def prepared() -> None:
    """Prepare what a machine makes once, so that it is not timed."""
    openvino_ssd.prepare()
    footage.embedded(footage.cache() / f"footage-{footage.VERSION}")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No process that was started while the test ran is there after it."""
    me = psutil.Process()
    # Python's own helper processes, which another test may have started for later use.
    before = set(me.children(recursive=True))
    yield
    deadline = time.monotonic() + patience_s()
    while left := [p for p in me.children(recursive=True) if p not in before and p.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def start(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tidegate", "demo", "--output", str(tmp_path / "out"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "200"},
    )


def tree(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("prepared", "nothing_left")
def test_demo_tells_its_story_and_loses_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, "--seconds", "40")
    # All work is done, however slow the machine is.
    output, _ = process.communicate(timeout=4 * patience_s())
    assert process.returncode == 0, output
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    segments = summary["segments"]
    assert (segments["lost"], segments["duplicated"], segments["dead_lettered"]) == (0, 0, 0), output
    assert segments["processed"] == segments["segments"] > 50
    calm, surge, _, _ = summary["phases"]
    assert calm["cameras"] == 2 < surge["cameras"]
    assert summary["peak_replicas"] > 1, output
    last = [line for line in output.splitlines() if "pending" in line][-1]
    assert "0 workers" in last and "no video, no worker" in last, "down to nothing, as the ScaledObject says"
    assert summary["replica_seconds"] < summary["static_replica_seconds"]
    for camera in ("stop", "alley"):
        with Image.open(out / f"camera-{camera}.png") as image:
            assert image.width == 960
    with Image.open(out / "overview.png") as image:
        assert image.width == 1200
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert {"person", "bicycle"} <= {o["label"] for e in events for f in e.get("frames", ()) for o in f["objects"]}
    assert "tidegate watch incidents.alley" in output, output
    for what, where in (("coming", "line way, out"), ("leaving", "line way, in"), ("stopped", "zone stand")):
        assert what in output and where in output, output
    assert (out / "tracks-alley.mp4").stat().st_size > 10_000
    assert "0 lost, 0 duplicated" in output
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "the data directory is gone"


@pytest.mark.slow
@pytest.mark.usefixtures("prepared", "nothing_left")
@pytest.mark.parametrize("after_s", [0.3, 15.0])
def test_ctrl_c_ends_it_soon_and_leaves_nothing(tmp_path: Path, after_s: float) -> None:
    # Without Ctrl-C it would run longer than this test waits.
    process = start(tmp_path, "--seconds", "500")
    deadline = time.monotonic() + patience_s()
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(after_s)
    while after_s > 10 and len(tree(process)) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    children = tree(process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=patience_s())
    # The command line handles Ctrl-C before any product code runs.
    assert process.returncode in ((1, 130) if after_s < 10 else (130,)), output
    assert "Traceback" not in output
    assert not [p for p in children if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    if after_s > 10:
        assert len(children) >= 4, "server, cameras, ingest and a worker"
        assert "0 lost, 0 duplicated" in output
        assert (tmp_path / "out" / "overview.png").exists()
    assert not list(tmp_path.glob("tidegate-*")), "the data directory is gone"


@pytest.mark.slow
@pytest.mark.usefixtures("prepared", "nothing_left")
def test_kill_9_leaves_no_process(tmp_path: Path) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + patience_s()
    while len(children := tree(process)) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.kill()
    process.communicate()
    missing, alive = psutil.wait_procs(children, timeout=patience_s())
    assert not alive, f"{[p.name() for p in alive]} outlive {len(missing)} others"


def test_a_file_that_is_no_video_is_refused_with_a_sentence(tmp_path: Path) -> None:
    bad = tmp_path / "notes.mp4"
    bad.write_text("no video")
    process = start(tmp_path, "--video", str(bad))
    output, _ = process.communicate(timeout=patience_s())
    assert process.returncode == 1
    assert "notes.mp4 can't be used as a camera" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "options",
    [{"seconds": 5}, {"seconds": 9000}, {"output": Path("/proc/no")}, {"rtsp": ("rtsp://127.0.0.1/x", "http://x")}],
)
def test_invalid_options_are_refused_before_anything_starts(
    options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(_: demo.DemoOptions) -> None:
        raise AssertionError("it began")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_until_interrupted", begin)
    with pytest.raises(SettingError, match=r"give 20 to 500|--output|camera url has the scheme 'http'"):
        demo.run(demo.DemoOptions(**options))  # type: ignore[arg-type]
