"""What others wrote is printed, and does nothing: it moves no cursor, colours nothing, and passes for no other line."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from shared import bus
from shared.bus import requests
from shared.bus.requests import Handler
from shared.client import registry
from shared.contract import cameras, events, names, topology
from shared.contract.events import (
    Answer,
    CameraStatus,
    Caption,
    Counts,
    Crossings,
    DetectedObject,
    Detections,
    Event,
    Frame,
    Heat,
    Incident,
    Part,
    PathPoint,
    Presence,
    SegmentRef,
    Snapshot,
    Summary,
    Timing,
    Track,
    Tracks,
    Usage,
    Verdict,
)
from shared.contract.explain import Explanation, Explanations, ReplicaSeen
from shared.contract.search import Found, Moment
from shared.runtime.errors import Refusal
from shared.runtime.inert import inert
from tests import raw
from tests.examples import examples
from tests.up_process import COMMAND
from tests.waiting import patience_s
from tidegate.commands import ask
from tidegate.local.server import NatsServer
from tidegate.view import terminal
from tidegate.view.inert import one_line
from tidegate.view.monitor import CameraNow
from tidegate.view.screen import Screen

EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x1b]52;c;cm0=\x07\x9b31m\r\x00\x08\x7f [bold red]x[/] [/x] :warning: "
    "\u202egnp.exe\u2066\u200e\U000e0041\u2028\n17  cv  forged\tcolumn\x85end"
)
# A label has 64 characters at most.
LABEL = EVIL[:64]
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
BOX = (0.1, 0.1, 0.2, 0.5)
REF = SegmentRef(stream=names.MEDIA, seq=1, epoch="e", n=0)
TIMING = Timing(queued_ms=1, decode_ms=1, infer_ms=1)
# What rich writes by itself: colours, and the cursor of a line that changes.
OURS = re.compile(r"\x1b\[[0-9;]*m")
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def assert_inert(text: str, *, lines: int | None = None) -> None:
    """No character of `text` but our own colours is acted on, and markup and emoji codes are as they were written."""
    assert not (found := ACTIVE.search(OURS.sub("", text))), (found, text)
    assert "\\u001b[2J" in text and ":warning:" in text, text
    assert "[bold red]x[/] [/x]" in OURS.sub("", text), text
    if lines is not None:
        assert len(text.splitlines()) == lines, text


async def tidegate(
    server: NatsServer, *arguments: str, coloured: bool = False, ok: bool = True
) -> subprocess.CompletedProcess[str]:
    """coloured: as if standard output were a terminal."""
    environment = os.environ | server.environment("admin")
    if coloured:
        environment |= {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, *arguments], env=environment, capture_output=True, timeout=240
    )
    text = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in text.stderr and (text.returncode == 0) is ok, text
    return text


@asynccontextmanager
async def answering(server: NatsServer, subject: str, payload: bytes | Refusal) -> AsyncIterator[None]:
    """A service that somebody else runs."""
    client = await bus.connect(server.settings("admin"), "admin")

    async def answer(_: bytes) -> tuple[bytes, dict[str, str]]:
        if isinstance(payload, Refusal):
            raise payload
        return payload, {}

    handler: Handler = answer
    service = await requests.serve(client, "other", "another's", {"x": (subject, handler)})
    await client.flush()
    try:
        yield
    finally:
        await service.stop()
        await client.close()


def test_only_what_acts_is_changed() -> None:
    harmless = "Grüße, 日本語, \u0645\u06cc\u200c\u062e, 👩\u200d🚒, a\u00a0b\tc\n"
    assert inert(harmless) == harmless
    active = "a\x1b\u202e\x7f\U000e0041b"
    assert json.loads(f'"{inert(active)}"') == active
    assert one_line("a\r\nb\tc\u2028d\n") == "a b c d"


@given(st.text(alphabet=st.characters(), max_size=200))
def test_whatever_is_written_is_inert(text: str) -> None:
    assert not ACTIVE.search(inert(text)) and not ACTIVE.search(one_line(text))
    assert not re.search(r"[\n\t]", one_line(text))
    out = Screen(file=io.StringIO(), force_terminal=True, width=60)
    assert isinstance(out.file, io.StringIO)
    out.print(text, markup=False)
    assert not ACTIVE.search(OURS.sub("", out.file.getvalue()))


# ---- dead letters


async def test_dead_letters_are_listed_whatever_is_in_them(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    evil = {"Dlq-Stream": EVIL, "Dlq-Subject": EVIL, "Dlq-Reason": EVIL, "Dlq-Time": EVIL}
    numbers = ("one", "", "-1", "1e9", "NaN", "\u0661", "9" * 19, "9" * 30, str(2**63), " 7 ", "0x7")
    for number in numbers:
        await js.publish("dlq.cv", b"x", headers=evil | {"Dlq-Seq": number, "Dlq-Deliveries": number, "A": EVIL})
    for service in (b"cv", b"nobody", b"a.b", b"\xff\x1b[2J"):
        for block in (b"NATS/1.0 404 \xff\r\n\r\n", b"NATS/1.0\r\nDlq-Reason: [/x]\r\nDlq-Seq: \xff\r\n\r\n"):
            await raw.store(admin, b"dlq." + service, block)
    await raw.store(admin, b"dlq.cv", raw.block([b"Status: 404"]))
    said: tuple[Any, ...] = (
        b"", b"{", b"\xff", b"[" * 100_000, b"null", b"3", b'{"stream_seq": 1e400}', b'{"stream_seq": "one"}',
        b'{"deliveries": NaN}', json.dumps({"stream": EVIL, "consumer": EVIL, "timestamp": EVIL}).encode(),
        b'{"stream_seq": 18446744073709551615, "deliveries": -5}',
    )  # fmt: skip
    for consumer in (b"MEDIA.cv", b"MEDIA", b"MEDIA.\x1b[2J", b"nowhere.nobody"):
        for payload in said:
            await raw.store(admin, f"{names.MAX_DELIVERIES}.".encode() + consumer, raw.block([]), payload)
    count = len(numbers) + 9 + 4 * len(said)
    piped = await tidegate(server, "dlq", "list")
    assert_inert(piped.stdout, lines=count)
    assert all(len(line.split("\t")) == 7 for line in piped.stdout.splitlines())
    as_json = (await tidegate(server, "dlq", "list", "--json")).stdout
    assert not ACTIVE.search(as_json)
    assert [json.loads(line)["seq"] for line in as_json.splitlines()] == list(range(1, count + 1))
    assert_inert((await tidegate(server, "dlq", "list", coloured=True)).stdout)
    replayed = await tidegate(server, "dlq", "replay", "--all", ok=False)
    assert not ACTIVE.search(replayed.stderr) and "and " in replayed.stderr


header_names = st.sampled_from(
    ["Dlq-Stream", "Dlq-Seq", "Dlq-Subject", "Dlq-Reason", "Dlq-Deliveries", "Dlq-Payload", "Dlq-Of", "Status", "A"]
)
values = st.one_of(
    st.binary(max_size=40),
    st.integers(-(2**70), 2**70).map(lambda n: str(n).encode()),
    st.sampled_from([b"MEDIA", b"KV_credentials", b"absent", b"media.lobby", b"404", EVIL.encode()]),
).map(lambda value: re.sub(rb"[\r\n]", b" ", value))
blocks = st.one_of(
    st.lists(st.tuples(header_names, values), max_size=6).map(
        lambda lines: raw.block([name.encode() + b": " + value for name, value in lines])
    ),
    st.binary(max_size=30).map(lambda rest: b"NATS/1.0" + rest + b"\r\n\r\n"),
)
advisories = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["stream", "consumer", "stream_seq", "deliveries", "timestamp"]), inner),
    ),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode())
letters = st.tuples(
    st.sampled_from([b"dlq.cv", b"dlq.webhook", b"dlq.x", f"{names.MAX_DELIVERIES}.MEDIA.cv".encode()]),
    blocks,
    st.one_of(st.binary(max_size=40), advisories),
)


@pytest.mark.slow
@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(letters, min_size=60, max_size=120))
def test_any_letters_are_listed(tmp_path: Path, given: list[tuple[bytes, bytes, bytes]]) -> None:
    async def go() -> None:
        async with NatsServer(tmp_path / os.urandom(8).hex()) as server:
            admin = await bus.connect(server.settings("admin"), "admin")
            try:
                await topology.apply(admin.jetstream(), topology.TopologySettings())
                for subject, block, payload in given:
                    await raw.store(admin, subject, block, payload)
                stored = (await admin.jetstream().stream_info(names.DLQ)).state.messages
            finally:
                await admin.close()
            piped = (await tidegate(server, "dlq", "list")).stdout
            assert len(piped.splitlines()) == stored and not ACTIVE.search(piped)
            as_json = (await tidegate(server, "dlq", "list", "--json")).stdout
            assert len([json.loads(line) for line in as_json.splitlines()]) == stored

    asyncio.run(go())


@pytest.mark.slow
async def test_ten_thousand_letters_are_listed_and_not_held(server: NatsServer, admin: Client) -> None:
    """300 MB of letters, and 65 MB that the process took at most where this was measured."""
    payload = b"x" * 1_000_000
    for n in range(300):
        await admin.publish("dlq.cv", payload, headers={"Dlq-Reason": "x", "Dlq-Seq": str(n)})
        if n % 20 == 0:
            await admin.flush()
    for n in range(9_699):
        await admin.publish("dlq.cv", b"x", headers={"Dlq-Reason": "x", "Dlq-Seq": str(n)})
    # A stream stores in order, and later than the server hears: once this is stored, all are.
    await admin.jetstream().publish("dlq.cv", b"x", headers={"Dlq-Reason": "x", "Dlq-Seq": "9699"}, timeout=30)
    peak = (
        "import re, sys; sys.argv[0] = 'tidegate'\n"
        "from tidegate.commands import tidegate\n"
        "try: tidegate()\n"
        "finally: print(*re.findall('VmHWM:(.*) kB', open('/proc/self/status').read()), file=sys.stderr)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", peak, "dlq", "list"],
        env=os.environ | server.environment("admin"), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10_000
    assert int(done.stderr.split()[-1]) < 150 * 1024, done.stderr


# ---- events as they come


def every_event() -> Sequence[Event]:
    """One of each kind, with all the text that its publisher writes."""
    said: dict[str, Any] = {
        "camera": "lobby", "job": EVIL, "start": NOW, "end": NOW, "model": EVIL, "frames": [], "reason": EVIL,
        "timing": TIMING, "usage": Usage(prompt_tokens=1, completion_tokens=1, first_token_ms=1),
    }  # fmt: skip
    of: dict[str, Any] = {"camera": "lobby", "segment": REF, "start": NOW, "duration": 1.0, "model": EVIL}
    frame = Frame(time=NOW, objects=[DetectedObject(label=LABEL, score=0.5, box=BOX)])
    track = Track(
        id=EVIL, state="end", label=LABEL, score=0.5, box=BOX, first=NOW, last=NOW,
        path=[PathPoint(time=NOW, box=BOX)], speed=0.1, zones=[EVIL],
    )  # fmt: skip
    incident = Incident(
        camera="lobby", incident=EVIL, state="start", rule=EVIL, condition=EVIL, severity="info", start=NOW, time=NOW,
        zone=EVIL, objects=[], segments=[], snapshot=Snapshot(stream="MEDIA", seq=1, time=NOW),
    )  # fmt: skip
    return [
        Detections(**of, frames=[frame], timing=TIMING),
        Tracks(**of, tracks=[track]),
        incident,
        CameraStatus(camera="lobby", time=NOW, state="offline", reason=EVIL, url=EVIL, ingest=EVIL),
        Caption(**said, text=EVIL),
        Verdict(**said, incident=EVIL, verdict="confirmed", confidence=0.5),
        Answer(**said, question=EVIL, text=EVIL),
        Summary(**said, text=EVIL, captions=1, parts=[]),
        Counts(
            camera="lobby", start=NOW, end=NOW, seconds=1, labels={LABEL: Presence(objects=1)}, zones={},
            lines={EVIL: {LABEL: Crossings(into=1)}}, heat=Heat(columns=1, rows=1, seconds=[1.0]),
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["for a person", "for a program"])
async def test_watching_shows_each_event_in_one_inert_line(
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


# ---- what is asked


async def test_cameras_are_shown_and_do_nothing(server: NatsServer, admin: Client) -> None:
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


async def test_tracks_are_shown_and_do_nothing(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await registry.put(js, "lobby", cameras.Camera(url="rtsp://10.0.0.7/x"), None)
    (event,) = [e for e in every_event() if isinstance(e, Tracks)]
    await js.publish(events.subject(event), events.encode(event))
    for body in (b"\xff", b"[" * 100_000, b"{}", b'{"camera": "lobby"}'):
        await js.publish(events.subject(event), body)
    assert_inert((await tidegate(server, "tracks", "lobby", "--since", "24h")).stdout, lines=1)
    assert_inert((await tidegate(server, "tracks", "lobby", "--since", "24h", coloured=True)).stdout)


@pytest.mark.slow
async def test_what_is_found_is_shown_and_does_nothing(server: NatsServer, admin: Client, tmp_path: Path) -> None:
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
async def test_an_answer_is_shown_and_does_nothing(server: NatsServer, admin: Client) -> None:
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


def test_a_summary_is_shown_and_does_nothing() -> None:
    (summary,) = [e for e in every_event() if isinstance(e, Summary)]
    out = Screen(file=io.StringIO(), force_terminal=True, width=300)
    ask.show(msgspec.structs.replace(summary, parts=[Part(start=NOW, end=NOW, text=EVIL)]), out)
    assert isinstance(out.file, io.StringIO)
    assert_inert(out.file.getvalue())


@pytest.mark.slow
async def test_an_explanation_is_shown_and_does_nothing(server: NatsServer, admin: Client) -> None:
    told = Explanation(
        service=EVIL, of=EVIL, terms={EVIL: EVIL}, settings={EVIL: EVIL}, lines=[EVIL], replicas_from=EVIL,
        replicas=[ReplicaSeen(replica=EVIL, state=EVIL, processed=1, working_s=1, age_s=1)],
    )  # fmt: skip
    payload = msgspec.json.encode(Explanations(by=EVIL, services=[EVIL], found=[told]))
    async with answering(server, names.explain("cv"), payload):
        assert_inert((await tidegate(server, "explain", "cv")).stdout)
        assert_inert((await tidegate(server, "explain", "cv", coloured=True)).stdout)
        assert not ACTIVE.search((await tidegate(server, "explain", "cv", "--json")).stdout)
    for body in (b"", b"\xff", b"{}", b"[" * 100_000):
        async with answering(server, names.explain("cv"), body):
            await tidegate(server, "explain", "cv", ok=False)


def test_the_live_view_shows_what_is_seen_and_does_nothing() -> None:
    now: dict[str, Any] = {"fps_in": 1.0, "fps_analysed": 1.0, "p50": None, "p99": None}
    rows = [
        CameraNow(id="lobby", state="offline", reason=EVIL, seen={}, **now),
        CameraNow(id="yard", state="online", reason="", seen={EVIL: 1}, **now),
    ]
    out = Screen(file=io.StringIO(), force_terminal=True, width=300)
    out.print(terminal.camera_table(rows, rows=5, width=300))
    assert isinstance(out.file, io.StringIO)
    assert_inert(out.file.getvalue(), lines=3)


# ---- one place


def test_nothing_is_printed_past_it() -> None:
    """Whoever prints elsewhere than by `echo` and `Screen` prints what others wrote as it is."""
    folder = Path(__file__).parent.parent / "tidegate"
    places = {"click.echo(": {"view/inert.py"}, "Console(": {"view/screen.py"}, "sys.stdout.write": set[str]()}
    for words, allowed in places.items():
        found = {
            str(p.relative_to(folder))
            for p in folder.rglob("*.py")
            if re.search(rf"\b{re.escape(words)}", p.read_text())
        }
        assert found <= allowed, (words, found)
