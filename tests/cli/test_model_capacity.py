"""`tidegate model bench`, `add`, `list` and `use`: from an exported file to the settings of `tidegate up`."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from nats.aio.client import Client

from shared.video import pictures
from tests.support.processes.command_line import tidegate, tidegate_on
from tests.support.video import footage
from tests.support.video.exports import Export
from tests.support.video.onnx_exports import OnnxExport
from tests.support.video.video_world import publish
from tidegate.demo import clips
from tidegate.keda.scaledobject import load
from tidegate.local.server import NatsServer

QUICK = ("--seconds", "0.2")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A detector of one box in the middle, whatever the picture."""
    array = np.zeros((1, 6, 84), np.float32)
    array[0, :, 7] = (32, 32, 32, 24, 0.9, 0)
    return Export(tmp_path).output("output0", array).metadata(names="{0: 'red', 1: 'blue'}").save(labels="")


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(footage.make(tmp_path / "yard.mp4", frames=75))


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {line[:14].strip(): line[14:] for line in done.stdout.splitlines()}


def test_bench_compares_batches_with_the_runtime_alone(file: str, video: str, tmp_path: Path) -> None:
    done = tidegate(tmp_path, "model", "bench", file, "--video", video, *QUICK, "--json")
    report = json.loads(done.stdout)
    (detector,) = report["detectors"]
    paces = detector["speed"]["paces"]
    assert [pace["batch"] for pace in paces] == [1, 4, 8, 16]
    assert all(pace["pictures_s"] > 0 and pace["share"] > 0 for pace in paces) and detector["speed"]["bare_s"] > 0
    assert report["footage"] == video and report["threads"] == 1


@pytest.mark.slow
def test_bench_sorts_several_detectors_by_speed(file: str, video: str, tmp_path: Path) -> None:
    done = tidegate(
        tmp_path, "model", "bench", "openvino:ssd_mobilenet_v2_coco", file, "--video", video, "--seconds", "1"
    )
    head, first, second, about = done.stdout.splitlines()
    assert head.split()[:2] == ["detector", "input"]
    assert (first.split()[0], second.split()[0]) == ("model", "ssd_mobilenet_v2_coco")
    assert "1 thread" in about and video in about


@pytest.mark.slow
def test_bench_measures_every_device_and_names_the_fastest(video: str, tmp_path: Path) -> None:
    array = np.zeros((6, 84), np.float32)
    array[:4, 7] = (32, 32, 32, 24)
    file = OnnxExport(tmp_path).output("output0", array, (5, 7)).save()
    done = tidegate(tmp_path, "model", "bench", file, "--all-devices", "--video", video, "--seconds", "0.5")
    head, *lines = done.stdout.splitlines()
    places = [re.split(r"  +", line)[1] for line in lines if line.startswith("model ")]
    assert head.split()[:3] == ["detector", "runs", "on"]
    assert {"cpu, OpenVINO, f32", "cpu, ONNX Runtime, f32"} <= set(places)
    (fastest,) = (line for line in lines if line.startswith("fastest: "))
    device, _, precision = places[0].split(", ")
    assert f"CV_MODEL={file} CV_DEVICE={device}" in fastest and fastest.endswith(f"CV_PRECISION={precision}")
    assert all(": " in line for line in lines if line.startswith("not "))


def test_add_goes_from_a_file_to_capacity_and_a_scaled_object(file: str, video: str, tmp_path: Path) -> None:
    more = ("--name", "yard", "--price", "0.4", "--latency-target", "3", "--threads", "1", "--precision", "f32")
    done = tidegate(tmp_path, "model", "add", file, "--video", video, *QUICK, *more)
    rows = shown(done)
    assert rows["format"] == "yolov8" and rows["next"] == "tidegate model use yard"
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert any("never move" in line and "yard.jpg" in line for line in warnings)
    assert "12 objects in 12 frames" in rows["boxes"] and "a camera and day, at 0.4" in rows["cost"]
    home = tmp_path / "models"
    assert pictures.read((home / "yard.jpg").read_bytes()).shape == (720, 1920, 3)
    (trigger,) = load(home / "yard.yaml").triggers
    assert f"lagThreshold {trigger.lag_threshold} for 3 s" in rows["ScaledObject"]  # type: ignore[union-attr]
    settings = dict(line.split("=", 1) for line in (home / "yard.env").read_text().splitlines())
    stored = json.loads((home / "yard.json").read_text())
    assert stored["settings"] == settings and settings["CV_MODEL"] == file
    assert settings["CV_PRECISION"] == "f32" and "CV_RUNTIME" not in settings
    assert stored["cameras"] == int(rows["cameras"].split()[0])


@pytest.mark.slow
def test_use_makes_a_model_the_active_one_and_goes_back(file: str, video: str, tmp_path: Path) -> None:
    tidegate(tmp_path, "model", "add", file, "--video", video, *QUICK, "--name", "yard", "--threads", "1")
    tidegate(tmp_path, "model", "use", "yard")
    listed = tidegate(tmp_path, "model", "list").stdout.strip().split("\t")
    assert listed[:2] == ["yard", "active"] and listed[-1] == file
    assert "the default" in tidegate(tmp_path, "model", "use", "--default").stdout
    assert tidegate(tmp_path, "model", "list").stdout.split("\t")[1] == ""


@pytest.mark.slow
def test_audit_and_simulate_take_the_rate_of_the_active_model(file: str, video: str, tmp_path: Path) -> None:
    tidegate(tmp_path, "model", "add", file, "--video", video, *QUICK, "--name", "yard", "--threads", "1")
    simulate = ("simulate", "--trace", "ramp", "--hours", "0.5", "--policy", "static_peak", "--json")
    missing = tidegate(tmp_path, *simulate, check=False)
    assert missing.returncode == 1 and "--service-rate is missing" in missing.stderr
    tidegate(tmp_path, "model", "use", "yard")
    rate = json.loads((tmp_path / "models" / "yard.json").read_text())["service_rate"]
    done = tidegate(tmp_path, *simulate)
    assert f"a replica does {rate:g} a second: model yard" in done.stderr and json.loads(done.stdout)
    report = json.loads(tidegate(tmp_path, "audit", "--trace", "ramp", "--json").stdout)
    assert report["service_rate"] == rate and "model yard" in report["service_rate_source"]
    own = json.loads(tidegate(tmp_path, "audit", "--trace", "ramp", "--service-rate", "7", "--json").stdout)
    assert own["service_rate"] == 7 and own["service_rate_source"] == ""


@pytest.mark.slow
async def test_add_measures_on_the_last_segments_of_a_camera(
    server: NatsServer, admin: Client, file: str, video: str, tmp_path: Path
) -> None:
    await publish(admin, clips.pieces(Path(video), "lobby"), "lobby")
    add = ("model", "add", file, *QUICK, "--threads", "1", "--data", str(tmp_path), "--camera")
    done = await tidegate_on(server, *add, "lobby", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = shown(done)
    assert rows["footage"] == "camera lobby; 3 segments of 1 s"
    unknown = await tidegate_on(server, *add, "gate", cwd=tmp_path)
    assert unknown.returncode == 1 and "--camera gate has no video in MEDIA" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "/models/missing.onnx"], "there is no /models/missing.onnx"),
        (["add", "models/missing.onnx"], "give the absolute path"),
        (["add", "FILE", "--video", "FILE"], "can't be read"),
        (["add", "FILE", "--video", "FILE", "--camera", "lobby"], "exclude each other"),
        (["add", "FILE", "--runtime", "onnxruntime"], "export the model as .onnx"),
        (["add", "FILE", "--camera", "lobby"], "start 'tidegate up'"),
        (["add", "FILE", "--name", "a b"], "--name 'a b' can't be used"),
        (["add", "FILE", "--price", "-1"], "--price"),
        (["bench", "FILE", "--video", "FILE"], "can't be read"),
        (["bench", "FILE", "--device", "cuda"], "export the model as .onnx, or set CV_DEVICE=cpu"),
        (["bench", "FILE", "--all-devices", "--precision", "f32"], "--all-devices excludes"),
        (["use"], "give the name of a model, or --default"),
        (["use", "yard"], "there is none yet"),
    ],
)
def test_a_wrong_turn_is_named(file: str, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = tidegate(tmp_path, "model", *[file if a == "FILE" else a for a in arguments], check=False)
    assert done.returncode in (1, 2) and message in done.stderr and "Traceback" not in done.stderr


def test_a_classifier_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    classifier = Export(tmp_path).output("logits", np.zeros((1, 1000), np.float32)).save(labels="")
    done = tidegate(tmp_path, "model", "add", classifier, check=False)
    assert done.returncode == 1 and classifier in done.stderr and not done.stdout
