"""A custom service with the code of docs/how-to/extend.md, next to a real `tidegate up`."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared.client import dlq
from shared.contract import events, names
from shared.contract.events import DetectedObject, Detections, Frame, SegmentRef, Timing
from tests.support.paths import ROOT
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s, until
from tidegate.local.running import connect

PAGE = ROOT / "docs/how-to/extend.md"
START = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)


def shown() -> dict[str, str]:
    """The files of the page: each block by the last file name in backticks before it."""
    section = PAGE.read_text().partition("## A service of your own")[2].partition("\n## ")[0]
    prose, *blocks = re.split(r"^```(\w*)\n", section, flags=re.M)
    files = {}
    for language, text in zip(blocks[::2], blocks[1::2], strict=True):
        if language:
            files[re.findall(r"`([\w/.]+\.\w+)`", prose)[-1]] = text
        prose = text
    return files


def install(source: Path) -> None:
    """The installed files of the project, as after `pip install`: its package, and its entry points."""
    files = shown() | {"people/__init__.py": ""}
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    info = source / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    [(group, points)] = project["entry-points"].items()
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of processes that find the installed package."""
    install(tmp_path / "site")
    return os.environ | {"PYTHONPATH": str(tmp_path / "site"), "CV_FPS": "1"}


@pytest_asyncio.fixture
async def up(tmp_path: Path, environment: dict[str, str]) -> AsyncIterator[Path]:
    """The data directory of a `tidegate up`."""
    data, log = tmp_path / "data", tmp_path / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "up", "--plain", "--data", str(data), "--port", "0", "--speed", "20"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        await until(lambda: (data / "run.json").exists() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield data
        process.send_signal(2)
        process.wait(patience_s())
        assert process.returncode == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def detections(n: int, *people: int) -> Detections:
    """The detections of segment `n`: that many people in each frame, and a dog."""
    box = (0.1, 0.1, 0.2, 0.5)
    dog = DetectedObject(label="dog", score=0.9, box=box)
    person = DetectedObject(label="person", score=0.9, box=box)
    frames = [Frame(time=START + dt.timedelta(seconds=i), objects=[dog, *[person] * k]) for i, k in enumerate(people)]
    ref = SegmentRef(stream=names.MEDIA, seq=n, epoch="e", n=n)
    timing = Timing(queued_ms=0, decode_ms=0, infer_ms=0)
    return Detections(camera="lobby", segment=ref, start=START, duration=3, model="m", frames=frames, timing=timing)


async def publish(admin: Client, event: Detections) -> None:
    id = f"cv/m/MEDIA/{event.segment.seq}"
    headers = events.headers(event, id=id, source=names.source("cv"))
    await admin.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


def test_its_settings_are_described(environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-m", "people", "--help"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m people\n\nCounts the people in each segment, until SIGTERM.\n")
    assert "PEOPLE_LABEL" in done.stdout


def test_an_unloadable_record_names_its_entry_point(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "site" / "people" / "record.py").write_text("import nothing_of_that_name")
    done = subprocess.run(
        [*COMMAND, "up", "--data", str(tmp_path / "data")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "entry point people = people.record:RECORD" in done.stderr and "nothing_of_that_name" in done.stderr


@pytest.mark.slow
async def test_the_service_of_the_page_runs_and_publishes(up: Path) -> None:
    admin, viewer = await connect(up), await connect(up, "viewer")
    heard = await viewer.subscribe("events.people.>")
    await viewer.flush()
    try:
        await publish(admin, detections(1, 1, 3, 2))
        first = await heard.next_msg(timeout=patience_s())
        assert first.subject == "events.people.lobby"
        assert msgspec.json.decode(first.data) == {"camera": "lobby", "start": "2026-11-24T13:00:00.000Z", "most": 3}
        head = first.headers or {}
        assert (head["ce-source"], head["ce-type"]) == ("/tidegate/people", "tidegate.people.v1")
        assert head["ce-id"].startswith("people/v1/EVENTS/")

        await publish(admin, detections(2))
        assert msgspec.json.decode((await heard.next_msg(timeout=patience_s())).data)["most"] == 0

        # It dead-letters unreadable messages under its own right.
        await admin.jetstream().publish("events.detections.lobby", b"?", headers={"Nats-Msg-Id": "x"})
        letters = []
        while not letters:
            letters = [letter async for letter in dlq.entries(admin, "people")]
        assert "not a detections event" in letters[0].reason
        assert (up / "metrics" / "people-0.json").exists()
        assert "Violation" not in (up / "nats.log").read_text()
    finally:
        await admin.close()
        await viewer.close()
