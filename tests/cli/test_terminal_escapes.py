"""Foreign text is printed inert: it moves no cursor, colours nothing, and passes for no other line."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from shared.client import registry
from shared.contract import cameras, events, names
from shared.contract.events import (
    Answer,
    CameraStatus,
    Part,
    Summary,
    Tracks,
)
from shared.contract.questions.explain import Explanation, Explanations, ReplicaSeen
from shared.contract.questions.search import Found, Moment
from shared.runtime.errors import Refusal
from shared.runtime.plain import inert
from tests.support.escapes import ACTIVE, EVIL, NOW, OURS, answering, assert_inert, every_event, tidegate
from tests.support.paths import ROOT
from tests.support.processes.command_line import COMMAND
from tests.support.servers import raw_messages as raw
from tests.support.waiting import patience_s
from tidegate.commands import ask
from tidegate.local.server import NatsServer
from tidegate.view import terminal
from tidegate.view.inert import one_line
from tidegate.view.monitor import CameraNow
from tidegate.view.screen import Screen


def test_only_control_characters_are_changed() -> None:
    harmless = "Grüße, 日本語, \u0645\u06cc\u200c\u062e, 👩\u200d🚒, a\u00a0b\tc\n"
    assert inert(harmless) == harmless
    active = "a\x1b\u202e\x7f\U000e0041b"
    assert json.loads(f'"{inert(active)}"') == active
    assert one_line("a\r\nb\tc\u2028d\n") == "a b c d"


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_is_printed_inert(text: str) -> None:
    assert not ACTIVE.search(inert(text)) and not ACTIVE.search(one_line(text))
    assert not re.search(r"[\n\t]", one_line(text))
    out = Screen(file=io.StringIO(), force_terminal=True, width=60)
    assert isinstance(out.file, io.StringIO)
    out.print(text, markup=False)
    assert not ACTIVE.search(OURS.sub("", out.file.getvalue()))


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["for a person", "for a program"])
async def test_watch_prints_each_event_in_one_inert_line(
    server: NatsServer, admin: Client, tmp_path: Path, options: tuple[str, ...]
) -> None:
    bodies = [(events.subject(e), events.encode(e)) for e in every_event()]
    for event in every_event():
        assert events.decode(events.encode(event), type(event)), "it is within the bounds, so that it is described"
    broken = (b"\xff\xfe" + EVIL.encode(), b"[" * 100_000, b"", b'"\\ud800"', b'{"camera": "lobby"}', b"1e999")
    bodies += [("events.captions.lobby", body) for body in broken]
    bodies.append(("events.captions.lobby", b"the last one"))
    environment = os.environ | server.environment("admin") | {"FORCE_COLOR": "1", "COLUMNS": "100"}
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        watching = await asyncio.create_subprocess_exec(
            *COMMAND, "watch", *options, env=environment, stdout=out, stderr=err
        )
    try:
        async with asyncio.timeout(patience_s()):
            while b"begun" not in (tmp_path / "out").read_bytes():
                assert watching.returncode is None, (tmp_path / "err").read_text()
                await admin.publish("events.captions.lobby", b"begun", headers={"ce-id": "begun"})
                await asyncio.sleep(0.2)
            for n, (subject, body) in enumerate(bodies):
                await raw.send(admin, subject.encode(), raw.block([b"ce-id: %d" % n]), body)
            while b"the last one" not in (tmp_path / "out").read_bytes():
                await asyncio.sleep(0.1)
    finally:
        if watching.returncode is None:
            watching.send_signal(signal.SIGINT)
        await watching.wait()
    assert (tmp_path / "err").read_text() == ""
    text = (tmp_path / "out").read_bytes().decode()
    if options:
        assert not ACTIVE.search(text)
    else:
        assert_inert(text)
    assert len(text.splitlines()) == 1 + len(bodies), text


async def test_cameras_are_printed_inert(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    bucket = await js.key_value(names.CAMERAS)
    entry = {"url": "rtsp://10.0.0.7/[/x]", "caption_prompt": EVIL}
    await bucket.put("lobby", json.dumps(entry).encode())
    await registry.put(js, "yard", cameras.Camera(url="rtsp://10.0.0.7/x"), None)
    for id in ("lobby", "yard"):
        status = CameraStatus(camera=id, time=NOW, state="offline", reason=EVIL, url=EVIL, codec=EVIL, ingest=EVIL)
        await js.publish(events.subject(status), events.encode(status))
    assert_inert((await tidegate(server, "camera", "list")).stdout, lines=2)
    assert_inert((await tidegate(server, "camera", "list", coloured=True)).stdout)
    assert_inert((await tidegate(server, "camera", "show", "yard")).stdout)
    for command in (("list",), ("show", "lobby")):
        assert not ACTIVE.search((await tidegate(server, "camera", *command, "--json")).stdout)


async def test_tracks_are_printed_inert(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await registry.put(js, "lobby", cameras.Camera(url="rtsp://10.0.0.7/x"), None)
    (event,) = [e for e in every_event() if isinstance(e, Tracks)]
    await js.publish(events.subject(event), events.encode(event))
    for body in (b"\xff", b"[" * 100_000, b"{}", b'{"camera": "lobby"}'):
        await js.publish(events.subject(event), body)
    assert_inert((await tidegate(server, "tracks", "lobby", "--since", "24h")).stdout, lines=1)
    assert_inert((await tidegate(server, "tracks", "lobby", "--since", "24h", coloured=True)).stdout)


@pytest.mark.slow
async def test_moments_are_printed_inert(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    moment = Moment(
        camera="lobby", start=NOW, end=NOW, time=NOW, seq=1, id=EVIL, by=["vectors"], similarity=0.5, labels=[EVIL]
    )
    found = msgspec.json.encode(Found(moments=[moment], note=EVIL))
    async with answering(server, names.FIND, found):
        assert_inert((await tidegate(server, "find", "x")).stdout)
        assert_inert((await tidegate(server, "find", "x", coloured=True)).stdout)
        assert not ACTIVE.search((await tidegate(server, "find", "x", "--json")).stdout)
    async with answering(server, names.FIND, Refusal(400, EVIL)):
        refused = await tidegate(server, "find", "x", ok=False)
    assert not ACTIVE.search(refused.stderr) and "[2J" in refused.stderr
    # A camera names the files that are saved.
    async with answering(server, names.FIND, found.replace(b'"lobby"', b'"../../lobby"')):
        refused = await tidegate(server, "find", "x", "--save", str(tmp_path / "a" / "b"), ok=False)
    assert [path.name for path in tmp_path.iterdir()] == ["nats"] and "$.moments[0].camera" in refused.stderr


@pytest.mark.slow
async def test_an_answer_is_printed_inert(server: NatsServer, admin: Client) -> None:
    (answer,) = [e for e in every_event() if isinstance(e, Answer)]
    async with answering(server, names.ASK, events.encode(answer)):
        assert_inert((await tidegate(server, "ask", "x", "--camera", "lobby")).stdout)
        assert_inert((await tidegate(server, "ask", "x", "--camera", "lobby", coloured=True)).stdout)
        assert not ACTIVE.search((await tidegate(server, "ask", "x", "--camera", "lobby", "--json")).stdout)
    async with answering(server, names.ASK, Refusal(503, EVIL)):
        assert not ACTIVE.search((await tidegate(server, "ask", "x", "--camera", "lobby", ok=False)).stderr)
    for body in (b"", b"\xff", b"{}", b"[" * 100_000):
        async with answering(server, names.ASK, body):
            await tidegate(server, "ask", "x", "--camera", "lobby", ok=False)


def test_a_summary_is_printed_inert() -> None:
    (summary,) = [e for e in every_event() if isinstance(e, Summary)]
    out = Screen(file=io.StringIO(), force_terminal=True, width=300)
    ask.show(msgspec.structs.replace(summary, parts=[Part(start=NOW, end=NOW, text=EVIL)]), out)
    assert isinstance(out.file, io.StringIO)
    assert_inert(out.file.getvalue())


@pytest.mark.slow
async def test_an_explanation_is_printed_inert(server: NatsServer, admin: Client) -> None:
    reply = Explanation(
        service=EVIL, of=EVIL, terms={EVIL: EVIL}, settings={EVIL: EVIL}, lines=[EVIL], replicas_from=EVIL,
        replicas=[ReplicaSeen(replica=EVIL, state=EVIL, processed=1, working_s=1, age_s=1)],
    )  # fmt: skip
    payload = msgspec.json.encode(Explanations(by=EVIL, services=[EVIL], found=[reply]))
    async with answering(server, names.explain("cv"), payload):
        assert_inert((await tidegate(server, "explain", "cv")).stdout)
        assert_inert((await tidegate(server, "explain", "cv", coloured=True)).stdout)
        assert not ACTIVE.search((await tidegate(server, "explain", "cv", "--json")).stdout)
    for body in (b"", b"\xff", b"{}", b"[" * 100_000):
        async with answering(server, names.explain("cv"), body):
            await tidegate(server, "explain", "cv", ok=False)


def test_the_live_view_prints_objects_inert() -> None:
    now: dict[str, Any] = {"fps_in": 1.0, "fps_analysed": 1.0, "p50": None, "p99": None}
    rows = [
        CameraNow(id="lobby", state="offline", reason=EVIL, seen={}, **now),
        CameraNow(id="yard", state="online", reason="", seen={EVIL: 1}, **now),
    ]
    out = Screen(file=io.StringIO(), force_terminal=True, width=300)
    out.print(terminal.camera_table(rows, rows=5, width=300))
    assert isinstance(out.file, io.StringIO)
    assert_inert(out.file.getvalue(), lines=3)


def test_no_code_prints_by_other_means() -> None:
    """Code that prints by other means than `echo` and `Screen` prints foreign text unescaped."""
    folder = ROOT / "tidegate"
    places = {"click.echo(": {"view/inert.py"}, "Console(": {"view/screen.py"}, "sys.stdout.write": set[str]()}
    for words, allowed in places.items():
        found = {
            str(p.relative_to(folder))
            for p in folder.rglob("*.py")
            if re.search(rf"\b{re.escape(words)}", p.read_text())
        }
        assert found <= allowed, (words, found)
