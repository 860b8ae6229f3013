"""The command line against a real `tidegate up`, as people use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.support.files import modes
from tests.support.processes.command_line import COMMAND, tidegate
from tests.support.video.exports import Export
from tests.support.waiting import patience_s
from tidegate.demo import footage


def start(data: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "up", "--plain", "--data", str(data), "--port", "0", "--speed", "20", *options],
        env=os.environ | {"CV_FPS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def server_of(process: subprocess.Popen[str]) -> psutil.Process | None:
    return next((c for c in psutil.Process(process.pid).children() if "nats-server" in c.name()), None)


@contextmanager
def up(data: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = start(data, *options)
    try:
        deadline = time.monotonic() + patience_s()
        while not (data / "run.json").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGINT)
        try:
            process.wait(patience_s())
        finally:
            process.kill()
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_an_open_data_directory_becomes_private(tmp_path: Path) -> None:
    """A service manager or a volume may create it with any umask; logs, the index and secrets become unreadable."""
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        with up(data):
            tidegate(data, "camera", "add", "lobby", "rtsp://127.0.0.1:9/x")
            found = {path.parts: mode for path, mode in modes(data).items()}
    finally:
        os.umask(before)
    assert {"run.json", "nats.log", "metrics", "jetstream", "secrets", "logs"} <= {name for name, *_ in found}
    assert ["/".join(path) for path, mode in found.items() if mode & 0o022 and path[0] != "secrets"] == []
    assert [name for name in ("logs", "secrets") if found[name,] & 0o077] == []


def test_a_missing_server_is_answered_with_the_remedy(tmp_path: Path) -> None:
    done = tidegate(tmp_path, "camera", "list", check=False)
    assert done.returncode == 1
    assert "tidegate up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_server_that_hangs_at_start(tmp_path: Path) -> None:
    process, nats = start(tmp_path / "data"), None
    try:
        while (nats := server_of(process)) is None:
            assert process.poll() is None
        # Stop it immediately, so that its first requests get no answer.
        while not (tmp_path / "data" / "run.json").exists():
            assert process.poll() is None
        nats.suspend()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=patience_s())
    finally:
        process.kill()
        if nats and nats.is_running():
            nats.kill()  # a stopped process gets no notice of its parent's death
    assert process.returncode == 0 and "Traceback" not in output, output


@pytest.mark.slow
def test_up_applies_a_site_file_and_names_what_nothing_reads(tmp_path: Path) -> None:
    site, data = tmp_path / "site.yaml", tmp_path / "data"
    zone = "zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}, rules: [{kind: enter, id: in, zone: door}]"
    camera = f"lobby: {{url: 'rtsp://127.0.0.1:9/x', rules: {{{zone}}}}}"
    site.write_text(f"cameras: {{{camera}}}\nrecording: {{keep_days: 7}}\n")
    with up(data, "-f", str(site)) as process:
        deadline = time.monotonic() + patience_s()
        while "lobby" not in tidegate(data, "camera", "list").stdout:
            assert time.monotonic() < deadline
    output, _ = process.communicate()
    assert "+ camera lobby: url rtsp://127.0.0.1:9/x" in output
    assert "the site has rules, which analytics reads: start it with --analytics" in output
    assert "the site has recording policies, which recorder reads: start it with --record" in output


@pytest.mark.slow
def test_cameras_are_added_and_removed_and_survive_restarts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    secret = "hunter2@!"
    with up(data) as process:
        # kubectl may be there, and no cluster.
        looked = tidegate(data, "doctor", check=False).stdout.splitlines()
        assert not [line for line in looked if "refuse" in line and "\tKEDA\t" not in line]
        assert tidegate(data, "setup").stdout.strip() == "nothing to change"
        added = tidegate(data, "camera", "add", "lobby", f"rtsp://me:{secret}@127.0.0.1:9/x", "--fps", "5")
        assert "hunter2" not in added.stdout
        tidegate(data, "camera", "disable", "lobby")
        listed = tidegate(data, "camera", "list")
        assert "disabled" in listed.stdout
        assert "hunter2" not in listed.stdout
        for arguments, words in (
            (("camera", "add", "a b", "rtsp://x/y"), "camera id"),
            (("camera", "add", "door", "http://x/y"), "rtsp://"),
            (("camera", "add", "door", "rtsp://x/y", "--fps", "-1"), "fps"),
            (("camera", "add", "door", "rtsp://x/y", "--tiles", "5x1"), "tiles is '5x1': give columns and rows"),
            (("camera", "remove", "nobody"), "camera list"),
            (("dlq", "replay"), "--all"),
        ):
            refused = tidegate(data, *arguments, check=False)
            assert refused.returncode == 1, arguments
            assert words in refused.stderr, refused.stderr
        second = tidegate(data, "up", "--plain", check=False)
        assert second.returncode == 1
        assert "another Tidegate" in second.stderr
    output = process.stdout.read() if process.stdout else ""
    assert "replica-seconds" in output, output
    with up(data) as process:
        # A server that dies is started again, on the same port and data.
        nats = server_of(process)
        assert nats
        nats.kill()
        nats.wait(patience_s())
        while (again := server_of(process)) is None or again.pid == nats.pid:
            time.sleep(0.05)
        (entry,) = [json.loads(x) for x in tidegate(data, "camera", "list", "--json").stdout.splitlines()]
        assert (entry["camera"], entry["url"], entry["fps"]) == ("lobby", "rtsp://127.0.0.1:9/x", 5.0)
        tidegate(data, "camera", "remove", "lobby")
        assert tidegate(data, "camera", "list", "--json").stdout == ""
    logs = "".join(p.read_text(errors="replace") for p in (data / "logs").glob("*.log"))
    assert "hunter2" not in logs


def first_detection(data: Path) -> dict[str, Any]:
    """Add a camera of the demo's footage, and return its first event."""
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[0]
    watching = subprocess.Popen(
        [*COMMAND, "watch", "detections", "--json", "--data", str(data)], stdout=subprocess.PIPE, text=True
    )
    try:
        tidegate(data, "camera", "add", "clip", str(video), "--fast", "--loop")
        line = watching.stdout.readline() if watching.stdout else ""
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(patience_s())
    event: dict[str, Any] = json.loads(line)
    return event


@pytest.mark.slow
def test_workers_start_for_a_watched_file(tmp_path: Path) -> None:
    with up(tmp_path / "data"):
        event = first_detection(tmp_path / "data")
    assert (event["camera"], event["model"]) == ("clip", "ssd_mobilenet_v2_coco")


@pytest.mark.slow
def test_workers_run_the_active_model_until_its_file_is_missing(tmp_path: Path) -> None:
    data, array = tmp_path / "data", np.zeros((1, 6, 84), np.float32)
    array[0, :, 7] = (32, 32, 32, 24, 0.9, 0)
    file = Path(Export(tmp_path).output("output0", array).metadata(names="{0: 'red', 1: 'blue'}").save(labels=""))
    tidegate(data, "model", "add", str(file), "--name", "yard", "--seconds", "0.2", "--threads", "1")
    tidegate(data, "model", "use", "yard")
    with up(data) as process:
        event = first_detection(data)
    output = process.stdout.read() if process.stdout else ""
    assert event["model"] == "model" and event["frames"][0]["objects"][0]["label"] == "red"
    assert f"detector yard, {file}: 'tidegate model use --default' goes back" in output
    file.unlink()
    refused = tidegate(data, "up", "--plain", check=False)
    assert refused.returncode == 1 and "put it back, or go back to the default" in refused.stderr


@pytest.mark.parametrize("service", ["ingest", "cv"])
def test_a_service_explains_its_settings(service: str) -> None:
    shown = subprocess.run([sys.executable, "-m", f"services.{service}", "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "NATS_URL" in shown.stdout
    prefix = {"ingest": "INGEST", "cv": "CV"}[service]
    assert f"{prefix}_" in shown.stdout
    wrong = {"ingest": {"INGEST_SEGMENT_S": "soon"}, "cv": {"CV_FPS": "-3"}}[service]
    refused = subprocess.run(
        [sys.executable, "-m", f"services.{service}"], env=os.environ | wrong, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert next(iter(wrong)) in refused.stderr


def test_help_ends_silently_if_its_reader_has_closed() -> None:
    """As in `python -m services.cv --help | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "services.ingest", "--help"], stdout=writer, stderr=subprocess.PIPE
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
