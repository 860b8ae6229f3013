"""What `tidegate up` refuses before anything starts: wrong settings, a taken port, a full disk."""

from __future__ import annotations

import os
import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.contract import catalog
from shared.contract.memory import GB, MB
from shared.runtime.errors import SettingError
from shared.runtime.ports import free_port
from tests.support.processes.command_line import tidegate
from tidegate.local import disk, port, preflight
from tidegate.local.stack import Stack


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refused(data: Path, *options: str) -> str:
    done = tidegate(data, "up", "--plain", *options, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr and done.stdout == ""
    assert not (data / "jetstream").exists()
    return done.stderr


def mistakes(environ: dict[str, str], data: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    """Return the refusal of `up` with these variables; empty if it would start."""
    for name in [name for name in os.environ if name.startswith(("CV_", "EMBED_", "VLM_", "INGEST_", "MEDIA_"))]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    try:
        preflight.check(catalog.started(["up", *options], os.environ), data)
    except SettingError as e:
        return str(e)
    return ""


def test_every_wrong_setting_is_named_at_once_and_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = mistakes(
        {
            "CV_MODEL": "yolo",
            "CV_FPS": "abc",
            "INGEST_SEGMENT_S": "nan",
            "MEDIA_MAX_BYTES": "much",
            "LOG_LEVEL": "loud",
        },
        tmp_path,
        monkeypatch,
    )
    for part in ("CV_MODEL", "openvino:ssd_mobilenet", "CV_FPS='abc'", "INGEST_SEGMENT_S", "MEDIA_MAX_BYTES='much'"):
        assert text.count(part) == 1, part
    # Every service reads it.
    assert text.count("LOG_LEVEL='loud'") == 1
    monkeypatch.setenv("INGEST_BUFFER_MB", "-1")
    assert "INGEST_BUFFER_MB=" in refused(tmp_path / "data", "--port", "0")


@pytest.mark.parametrize(
    "environ, found",
    [
        ({}, ""),
        ({"CV_MODEL": "/nowhere/m.onnx"}, "CV_MODEL: /nowhere/m.onnx: there is no /nowhere/m.onnx"),
        ({"CV_MODEL": "openvino:yolo"}, "openvino:ssd_mobilenet_v2_coco is the embedded one"),
        ({"CV_MODELS": "yard=/nowhere/m.onnx"}, "CV_MODELS: yard: /nowhere/m.onnx: there is no /nowhere/m.onnx"),
        ({"CV_MODELS": "yard"}, "CV_MODELS has yard without a model"),
        ({"CV_DEVICE": "cuda"}, "runs on cpu, not cuda"),
        ({"EMBED_MODEL": "openvino:vit"}, "openvino:efficientnet_lite3 is the embedded one"),
        ({"VLM_URL": "127.0.0.1:8000"}, "VLM_URL='127.0.0.1:8000' is no URL"),
        ({"VLM_URL": "http://127.0.0.1:9/v1", "VLM_TIMEOUT_S": "0"}, "VLM_TIMEOUT_S="),
    ],
)
def test_models_and_endpoints_are_checked_without_loading_them(
    environ: dict[str, str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--search", *(["--vlm"] if "VLM_URL" in environ else [])]
    text = mistakes(environ, tmp_path, monkeypatch, *options)
    assert found in text and bool(found) == bool(text)


def test_a_misspelt_setting_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CV_MIN_SCOER", "0.5")
    [warning] = preflight.check(catalog.started(["up"], os.environ), tmp_path)
    assert warning == "nothing reads CV_MIN_SCOER: did you mean CV_MIN_SCORE?"


def test_a_taken_port_that_was_asked_for_is_refused_with_its_holder(tmp_path: Path, taken: int) -> None:
    text = refused(tmp_path, "--port", str(taken))
    assert f"--port {taken}: " in text and f"process {os.getpid()} has this port already" in text


def test_a_neighbour_of_the_usual_port_is_announced_and_remembered(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "DEFAULT", taken)
    found, change = port.choose(tmp_path, None)
    assert found != taken and f"port {taken} is taken by" in change and f"NATS listens on {found}" in change
    assert port.choose(tmp_path, None) == (found, "")
    (tmp_path / port.FILE).write_text("no number")
    with pytest.raises(SettingError, match=f"--port {taken}: "):
        port.choose(tmp_path, taken)
    assert port.choose(tmp_path, 0) == (0, "")


async def test_a_taken_port_of_the_console_is_announced(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSOLE_PORT", str(taken))
    async with Stack(tmp_path, {}, port=free_port(0), steady=("console",)) as stack:
        (sentence,) = [line for line in stack.changed if "console listens" in line]
        found = urlsplit(stack.console_url).port
    assert found != taken and f"port {taken} is taken by" in sentence and "CONSOLE_PORT" in sentence
    assert f"the console listens on {found} this time" in sentence


def test_a_disk_without_room_is_refused_and_a_small_one_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    free = 60 * MB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - free, free))
    with pytest.raises(SettingError, match=r"^60 MB are free at .* at least 256 MB .*--data"):
        disk.check(tmp_path / "jetstream")
    # A start on existing data may make room.
    (tmp_path / "jetstream").mkdir()
    (tmp_path / "jetstream" / "1.blk").write_bytes(b"x")
    [warning] = disk.check(tmp_path / "jetstream")
    assert "0.1 GB are free" in warning and "MEDIA_MAX_BYTES" in warning and "--data" in warning
    free = 100 * GB
    assert disk.check(tmp_path / "jetstream") == []
