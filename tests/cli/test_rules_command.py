"""`tidegate rules` and `tidegate tracks`, run as people run them, against a server with video and detections."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from nats.aio.client import Client
from PIL import Image

from shared.contract import rules
from shared.contract.events import Tracks
from tests.support.processes.command_line import COMMAND, tidegate_on
from tests.support.video.walking_people import Walk, detections, publish
from tests.support.worlds.analytics_world import running, until
from tests.support.worlds.jobs_world import film
from tidegate.drawing.scene import draw_rules
from tidegate.local.server import NatsServer

GOOD = """
zones: {door: {polygon: [[0.3, 0.3], [0.7, 0.3], [0.7, 1], [0.3, 1]]}}
masks: [{polygon: [[0, 0], [0.1, 0], [0.1, 0.1]]}]
lines: {gate: {from: [0.5, 1.0], to: [0.5, 0.2]}}
rules:
  - {id: in, kind: enter, zone: door}
  - {id: cross, kind: crossing, line: gate}
"""
BAD = """
zones: {door: {polygn: [[0, 0], [1, 0], [1, 2]]}}
lines: {gate: {from: [0.5, 1.0], to: [0.5, 1.0]}}
rules:
  - {id: in, kind: entr, zone: door}
  - {id: cross, kind: crossing, line: gat}
"""


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return name


async def test_check_names_every_mistake_of_every_file(server: NatsServer, tmp_path: Path) -> None:
    good, bad = written(tmp_path, "good.yaml", GOOD), written(tmp_path, "bad.yaml", BAD)
    done = await tidegate_on(server, "rules", "check", good, bad, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "good.yaml: 1 zone, 1 mask, 1 line; rules: 1 enter, 1 crossing\n"
    assert "bad.yaml has 5 mistakes:" in done.stderr
    for path in ("zones.door.polygn", "zones.door", "lines.gate", "rules[0].kind", "rules[1].line"):
        assert f"\n  {path}: " in done.stderr
    assert (await tidegate_on(server, "rules", "check", good, cwd=tmp_path)).returncode == 0


async def test_an_unknown_label_is_warned_about(server: NatsServer, tmp_path: Path) -> None:
    text = """
labels: [person, car, Person, forklift]
filters: {persn: {min_score: 0.5}}
rules:
  - {id: near, kind: proximity, labels: [person], to: [car], distance: 0.1}
  - {id: fast, kind: speed, labels: [Person], over: 0.5}
masks:
  - {polygon: [[0, 0], [1, 0], [1, 0.2]], labels: [lorry, traffic light]}
"""
    file = written(tmp_path, "lobby.yaml", text)
    checked = await tidegate_on(server, "rules", "check", file, cwd=tmp_path)
    assert checked.returncode == 0 and checked.stdout.startswith("lobby.yaml: 1 mask; rules: ")
    assert checked.stderr.splitlines() == [
        "lobby.yaml: labels[2]: the embedded detector has no label 'Person': did you mean 'person'?",
        "lobby.yaml: labels[3]: the embedded detector has no label 'forklift': right where a model of yours has it",
        "lobby.yaml: masks[0].labels[0]: the embedded detector has no label 'lorry': did you mean 'truck'?",
        "lobby.yaml: rules[1].labels[0]: the embedded detector has no label 'Person': did you mean 'person'?",
        "lobby.yaml: filters.persn: the embedded detector has no label 'persn': did you mean 'person'?",
    ]
    assert checked.stderr in (await tidegate_on(server, "rules", "set", "lobby", file, "--force", cwd=tmp_path)).stderr


@pytest.mark.slow
async def test_rules_are_set_shown_listed_and_removed(server: NatsServer, tmp_path: Path) -> None:
    file = written(tmp_path, "lobby.yaml", GOOD)
    await tidegate_on(server, "camera", "add", "lobby", "rtsp://127.0.0.1:9/x", cwd=tmp_path)
    done = await tidegate_on(server, "rules", "set", "lobby", file, cwd=tmp_path)
    assert done.stdout == "rules of lobby: 1 zone, 1 mask, 1 line; rules: 1 enter, 1 crossing\n", done.stderr
    shown = await tidegate_on(server, "rules", "show", "lobby", cwd=tmp_path)
    assert rules.read(shown.stdout.encode(), "shown") == rules.read(GOOD.encode(), "given")
    listed = await tidegate_on(server, "rules", "list", cwd=tmp_path)
    assert "lobby" in listed.stdout and "in (enter), cross (crossing)" in listed.stdout
    assert (await tidegate_on(server, "rules", "remove", "lobby", cwd=tmp_path)).stdout == "rules of lobby: removed\n"
    missing = await tidegate_on(server, "rules", "show", "lobby", cwd=tmp_path)
    assert missing.returncode == 1 and missing.stderr.startswith(
        "tidegate: camera 'lobby' has no rules: tidegate rules set"
    )
    refused = await tidegate_on(server, "rules", "set", "lobby", written(tmp_path, "bad.yaml", BAD), cwd=tmp_path)
    assert refused.returncode == 1 and "bad.yaml has 5 mistakes" in refused.stderr
    assert (await tidegate_on(server, "rules", "list", cwd=tmp_path)).stderr.startswith("no camera has rules")


@pytest.mark.slow
async def test_draw_shows_zones_and_lines_on_the_last_keyframe(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    file = written(tmp_path, "lobby.yaml", GOOD)
    none = await tidegate_on(server, "rules", "draw", "lobby", "--file", file, cwd=tmp_path)
    assert none.returncode == 1 and "there is no video of camera 'lobby'" in none.stderr
    await film(admin, 3)
    plain = await tidegate_on(server, "rules", "draw", "lobby", "--file", written(tmp_path, "no.yaml", "{}"), "--save",
                           "plain.png", cwd=tmp_path)  # fmt: skip
    assert plain.stdout == "plain.png: no zones or lines; rules: none\n", plain.stderr
    done = await tidegate_on(server, "rules", "draw", "lobby", "--file", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "plain.png") as before, Image.open(tmp_path / "rules-lobby.png") as after:
        assert before.size == after.size
        changed = np.abs(np.asarray(before, int) - np.asarray(after, int)).sum(axis=2) > 0
    width, height = changed.shape[1], changed.shape[0]
    assert changed[int(0.8 * height), int(0.4 * width)], "inside of the zone"
    assert changed[int(0.5 * height), int(0.5 * width)], "on the line"
    assert not changed[int(0.6 * height), int(0.1 * width)], "elsewhere"
    where = await tidegate_on(server, "rules", "draw", "lobby", "--file", file, "--save", "no/such.png", cwd=tmp_path)
    assert where.returncode == 1 and "can't be written" in where.stderr


@pytest.mark.slow
async def test_tracks_are_shown_saved_as_a_video_and_written_to_be_scored(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    start = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(seconds=20)
    await film(admin, 12, start=start)
    file = written(tmp_path, "lobby.yaml", GOOD)
    await tidegate_on(server, "rules", "set", "lobby", file, "--force", cwd=tmp_path)
    async with running(server):
        await publish(admin, detections([Walk(1, 9, (0.1, 0.9), (0.9, 0.9))], 14, start=start))
        await until(admin, lambda f: any(t.state == "end" for e in f if isinstance(e, Tracks) for t in e.tracks))
    since = ("--since", start.isoformat())
    shown = await tidegate_on(server, "tracks", "lobby", *since, "--save", "t.mp4", "--mot", "t.txt", "--fps",
                           "5", cwd=tmp_path)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "person" in shown.stdout and "ended" in shown.stdout
    with av.open(str(tmp_path / "t.mp4")) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    assert 12 * 20 < len(frames) < 12 * 35
    rows = [line.split(",") for line in (tmp_path / "t.txt").read_text().splitlines()]
    assert len(rows) == 41 and {row[1] for row in rows} == {"1"}
    left, top, width, height = (float(v) for v in rows[0][2:6])
    # The size is the 1280x720 of the events, for any footage.
    assert (width, height) == (pytest.approx(0.06 * 1280, abs=1), pytest.approx(0.2 * 720, abs=1))
    assert left == pytest.approx(0.07 * 1280, abs=1) and top == pytest.approx(0.7 * 720, abs=1)
    (line,) = (
        await tidegate_on(server, "tracks", "lobby", "--since", "10m", "--json", cwd=tmp_path)
    ).stdout.splitlines()
    track = json.loads(line)
    assert track["label"] == "person" and len(track["path"]) == 41
    assert track["path"][0]["time"].startswith(f"{start + dt.timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}")


@pytest.mark.slow
async def test_tracks_report_what_is_missing(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await tidegate_on(server, "camera", "add", "lobby", "rtsp://127.0.0.1:9/x", cwd=tmp_path)
    nothing = await tidegate_on(server, "tracks", "lobby", cwd=tmp_path)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "nothing was followed on lobby in that time\n"
    video = await tidegate_on(server, "tracks", "lobby", "--save", "t.mp4", cwd=tmp_path)
    assert video.returncode == 1 and "there is no video of lobby" in video.stderr
    assert not (tmp_path / "t.mp4").exists()
    wrong = await tidegate_on(server, "tracks", "lobby", "--since", "10s", "--until", "20s", cwd=tmp_path)
    assert wrong.returncode == 1 and "is not before --until" in wrong.stderr
    long = await tidegate_on(server, "tracks", "lobby", "--since", "1h", "--save", "t.mp4", cwd=tmp_path)
    assert long.returncode == 1 and "600 s at most" in long.stderr


async def test_an_unwritable_video_is_reported(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await film(admin, 2)
    for path in ("no/such.mp4", "/dev/full"):
        done = await tidegate_on(server, "tracks", "lobby", "--since", "5m", "--save", path, cwd=tmp_path)
        assert done.returncode == 1
        # Progress is printed first if it takes more than a second.
        assert done.stderr.splitlines()[-1].startswith(f"tidegate: --save {path} can't be written: "), done.stderr


@pytest.mark.slow
async def test_rules_of_an_unknown_camera_need_force(server: NatsServer, tmp_path: Path) -> None:
    file = written(tmp_path, "lobby.yaml", GOOD)
    await tidegate_on(server, "camera", "add", "lobby", "rtsp://127.0.0.1:9/x", cwd=tmp_path)
    done = await tidegate_on(server, "rules", "set", "lobyy", file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "tidegate: there is no camera 'lobyy': did you mean 'lobby'? (there are lobby); "
        "--force stores it for a camera that is added later\n"
    )
    assert (await tidegate_on(server, "rules", "list", cwd=tmp_path)).stdout == ""
    forced = await tidegate_on(server, "rules", "set", "lobyy", file, "--force", cwd=tmp_path)
    assert (forced.returncode, forced.stderr) == (0, "")
    assert (await tidegate_on(server, "rules", "list", cwd=tmp_path)).stdout.startswith("lobyy\t")


def test_overlapping_zones_are_drawn_alike_in_any_order() -> None:
    """The fill of one is under the name and the edge of the other."""
    zones = [f"{name}: {{polygon: [[{x}, 0.2], [{x + 0.4}, 0.2], [{x + 0.4}, {y}], [{x}, {y}]]}}"
             for name, x, y in (("door", 0.2, 0.4), ("yard", 0.3, 0.9))]  # fmt: skip
    given = [rules.read(f"zones: {{{', '.join(order)}}}".encode(), "a file") for order in (zones, zones[::-1])]
    here, there = (np.asarray(draw_rules(np.zeros((480, 640, 3), np.uint8), r)) for r in given)
    assert (here == there).all()


def test_the_schema_is_printed() -> None:
    done = subprocess.run([*COMMAND, "rules", "schema"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["title"] == "Tidegate rules of a camera"
