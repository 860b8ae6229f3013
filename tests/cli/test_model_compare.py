"""`tidegate model compare`: the known differences of two generated detectors, as people and programs read them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.video import pictures
from tests.support.processes.command_line import tidegate, tidegate_on
from tests.support.video import footage
from tests.support.video.detector_pair import A, detectors, export
from tests.support.video.video_world import publish
from tidegate.demo import clips
from tidegate.local.server import NatsServer

# Three segments of a second, at 5 analysed frames each.
FRAMES = 15


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return detectors(tmp_path)


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(footage.make(tmp_path / "yard.mp4", frames=75))


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table, by the name of its row."""
    lines = [line.split() for line in text.split("\n\n")[1].splitlines()[1:]]
    return {cells[0]: cells[1:] for cells in lines}


def shown(text: str) -> dict[str, str]:
    return {line[:14].strip(): line[14:] for line in text.splitlines()}


def test_a_report_has_the_known_differences(pair: tuple[str, str], video: str, tmp_path: Path) -> None:
    done = tidegate(tmp_path, "model", "compare", *pair, "--video", video, "--b", "CV_PRECISION=f32")
    table, lines = rows(done.stdout), shown(done.stdout)
    n = str(FRAMES)
    assert table["all"] == [n, n, n, n, "1.00", "-0.100"]
    assert table["red"] == [n, n, "0", n, "1.00", "-0.100"] and table["blue"] == ["0", "0", n, n]
    # A quarter of the input's side is 80 of the source's 320 pixels.
    assert table["medium"] == table["all"] and table["small"][:4] == table["large"][:4] == ["0"] * 4
    assert lines["other class"] == f"{n} x blue of A is red of B"
    assert f"both find {n} of {4 * FRAMES} objects in {n} frames (25%)" in lines["result"]
    assert lines["result"].endswith(f"{n} have one box and two classes")
    assert f"only A finds {n}, of which B scores {n} under its minimum" in lines["result"]
    assert lines["frame 1"].startswith("at 0.0 s: only A: red 0.50; only B: blue 0.55; blue 0.60 of A is red 0.70 of B")
    assert f"tidegate model add {pair[1]} --precision f32," in lines["next"] and "model use --default" in lines["next"]
    assert "warning" not in lines
    sheet = tmp_path / "models" / "compare-a-b.jpg"
    assert lines["pictures"].startswith(f"{sheet}: ")
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    assert pictures.read(sheet.read_bytes()).shape == (760, 1920, 3)


@pytest.mark.slow
def test_a_program_reads_the_same_and_the_reverse_is_its_mirror(
    pair: tuple[str, str], video: str, tmp_path: Path
) -> None:
    one, other = (
        json.loads(tidegate(tmp_path, "model", "compare", *each, "--video", video, "--json").stdout)
        for each in (pair, pair[::-1])
    )
    assert one["total"]["agreed"] == other["total"]["agreed"] == FRAMES
    assert one["total"]["score_change"] == pytest.approx(-other["total"]["score_change"]) == pytest.approx(-0.1)
    assert (one["under_a"], one["under_b"]) == (other["under_b"], other["under_a"]) == (FRAMES, 0)
    assert one["confusions"] == [["blue", "red", FRAMES]] and other["confusions"] == [["red", "blue", FRAMES]]
    assert one["a"]["candidate"]["spec"] == pair[0] and one["a"]["ms"] > 0 and one["segments"] == 3
    # The differences never move: one frame shows them all.
    assert len(one["worst"]) == 1 and Path(one["pictures"]).is_file()


def test_the_settings_of_one_side_and_of_both_are_used(pair: tuple[str, str], video: str, tmp_path: Path) -> None:
    """At a minimum of 0.25, B finds what A alone found; only A has a minimum over its own red box."""
    more = ("--min-score", "0.25", "--a", "CV_MIN_SCORE=0.95", "--threads", "1", "--fps", "1", "--classes", "Red")
    done = tidegate(tmp_path, "model", "compare", *pair, "--video", video, *more, "--json")
    report = json.loads(done.stdout)
    assert report["a"]["min_score"] == 0.95 and report["b"]["min_score"] == 0.25
    assert report["total"]["only_b"] == 9 and report["total"]["agreed"] == 0 and list(report["classes"]) == ["red"]
    assert any("A finds nothing in 3 frames: its best score is 0.90, under 0.95" in w for w in report["warnings"])


def test_detectors_that_agree_are_named_so_and_have_no_pictures(
    pair: tuple[str, str], video: str, tmp_path: Path
) -> None:
    done = tidegate(tmp_path, "model", "compare", pair[0], pair[0], "--video", video)
    lines = shown(done.stdout)
    assert lines["result"].startswith(f"both find the same {3 * FRAMES} objects in {FRAMES} frames")
    assert lines["pictures"] == "none: they differ in no frame"
    assert lines["warning"].startswith("A and B are one detector with the same settings")
    assert not (tmp_path / "models" / "compare-a-a.jpg").exists()


@pytest.mark.slow
def test_class_lists_that_differ_are_named_and_joined_by_an_alias(
    pair: tuple[str, str], video: str, tmp_path: Path
) -> None:
    other = export(tmp_path, "other", A, "crimson\nblue\n")
    compare = ("model", "compare", pair[0], other, "--video", video)
    warning = json.loads(tidegate(tmp_path, *compare, "--json").stdout)["warnings"]
    assert f"B lacks 1 of A's classes (red), with {2 * FRAMES} objects here" in warning[0]
    assert "A lacks 1 of B's classes (crimson)" in warning[1]
    joined = json.loads(tidegate(tmp_path, *compare, "--alias", "crimson=red", "--json").stdout)
    assert joined["total"]["agreed"] == 3 * FRAMES and not joined["warnings"]


@pytest.mark.slow
def test_a_stored_model_has_its_stored_settings(pair: tuple[str, str], video: str, tmp_path: Path) -> None:
    add = ("--name", "yard", "--seconds", "0.2", "--threads", "1", "--min-score", "0.55", "--video", video)
    tidegate(tmp_path, "model", "add", pair[0], *add)
    lines = shown(tidegate(tmp_path, "model", "compare", pair[1], "yard", "--video", video).stdout)
    assert f"yard, {pair[0]}" in lines["B"] and "CV_MIN_SCORE=0.55" in lines["B"]
    assert lines["next"] == "tidegate model use yard; go back by 'tidegate model use --default'"
    unknown = tidegate(tmp_path, "model", "compare", pair[1], "yrad", "--video", video, check=False)
    assert unknown.returncode == 1 and "stored models are yard" in unknown.stderr


@pytest.mark.slow
async def test_stored_video_of_several_cameras_is_compared(
    server: NatsServer, admin: Client, pair: tuple[str, str], video: str, tmp_path: Path
) -> None:
    for camera in ("lobby", "gate"):
        await publish(admin, clips.pieces(Path(video), camera), camera)
    compare = ("model", "compare", *pair, "--data", str(tmp_path), "--json")
    done = await tidegate_on(server, *compare, "--camera", "lobby", "--camera", "gate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["segments"] == 6 and report["footage"] == "camera lobby; camera gate"
    assert sorted(frame["camera"] for frame in report["worst"]) == ["gate", "lobby"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FILE", "/models/missing.onnx"], "there is no /models/missing.onnx"),
        (["FILE", "yard"], "no model is stored yet"),
        (["FILE", "FILE", "--video", "FILE", "--live", "5"], "--video excludes --camera and --live"),
        (["FILE", "FILE", "--video", "FILE"], "can't be read"),
        (["FILE", "FILE", "--live", "5"], "start 'tidegate up'"),
        (["FILE", "FILE", "--a", "CV_FPS=5"], "give one of CV_MODEL_FORMAT"),
        (["FILE", "FILE", "--a", "CV_PRECISION"], "give a name and a value with = between them"),
        (["FILE", "FILE", "--b", "CV_MIN_SCORE=high"], "CV_MIN_SCORE='high' can't be used"),
        (["FILE", "FILE", "--b", "CV_PRECISION=f8"], "f8"),
        (["FILE", "FILE", "--alias", "bike"], "--alias 'bike' can't be used"),
        (["FILE", "FILE", "--camera", "a b"], "camera id 'a b' can't be used"),
    ],
)
def test_a_wrong_turn_is_named(pair: tuple[str, str], tmp_path: Path, arguments: list[str], message: str) -> None:
    values = [pair[0] if a == "FILE" else a for a in arguments]
    done = tidegate(tmp_path, "model", "compare", *values, check=False)
    assert done.returncode in (1, 2) and message in done.stderr and "Traceback" not in done.stderr
