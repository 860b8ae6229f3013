"""A preview of rules reports the incidents that the service reports live, and no input blocks the process."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from services.analytics.limits import Limits
from services.analytics.preview import answers
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import events, names
from shared.contract.events import DetectedObject, Detections, Incident, Track, Tracks
from shared.contract.questions import preview
from shared.contract.questions.preview import Answer
from shared.contract.rules import Rules
from shared.runtime.child import bound, python
from shared.runtime.errors import BadMessage
from tests.support.examples import examples
from tests.support.video.walking_people import START, detections, publish
from tests.support.waiting import patience_s
from tests.support.worlds.analytics_partition import (
    AFTER,
    BEGIN,
    BOOK,
    BUSY,
    LIMITS,
    RULES,
    delayed,
    in_time,
    log,
    of,
    play,
    scenes,
)
from tests.support.worlds.analytics_partition import delays as lateness
from tests.support.worlds.analytics_world import running, until, use
from tidegate.local.server import NatsServer

HOUR = dt.timedelta(hours=1)
SINCE, UNTIL = START - HOUR, START + HOUR
# These rules need no model, and no alert waits for a verdict.
ALONE: dict[str, Any] = RULES | {
    "rules": [{k: v for k, v in rule.items() if k not in ("verify", "alert")} for rule in RULES["rules"]]
}


def preview_of(
    stored: Iterable[Stored],
    *,
    rules: Any = ALONE,
    since: dt.datetime = SINCE,
    until: dt.datetime = UNTIL,
    end: dt.datetime | None = UNTIL,
) -> bytes:
    """end: of the log; None omits the last line."""
    lines = [preview.request("lobby", rules, since, until)]
    lines += [preview.detections(s.seq, s.time, s.data) for s in stored]
    return b"".join([*lines, *([preview.end(end)] if end else [])])


def answered(text: bytes, limits: Limits = LIMITS) -> list[Answer]:
    """Return each answer as the caller decodes it."""
    return [preview.answer(preview.line_of(one)) for one in answers(io.BytesIO(text), limits)]


def incidents(found: Iterable[Answer]) -> list[Incident]:
    return [one.incident for one in found if one.incident]


@contextlib.contextmanager
def process(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """As a console starts it, without the console's environment."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path.cwd()))} | environment
    command = bound(python("services.analytics.preview"))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as child:
        try:
            yield child
        finally:
            child.kill()


def run(text: bytes, **environment: str) -> tuple[int, list[Answer]]:
    with process(**environment) as child:
        out, error = child.communicate(text, timeout=patience_s())
    assert error == b""
    return child.returncode, [preview.answer(line) for line in out.splitlines()]


def tracked(found: Iterable[Any]) -> list[Track]:
    return [t for e in found if isinstance(e, Tracks) for t in e.tracks]


def over(found: Sequence[Any], n: int) -> bool:
    """Whether all has ended, segment `n` being the last."""
    published = [e for e in found if type(e) is Incident]
    lasting = {i.incident for i in published} - {i.incident for i in published if i.state == "end"}
    followed = {t.id for t in tracked(found)} - {t.id for t in tracked(found) if t.state == "end"}
    return not lasting and not followed and any(isinstance(e, Tracks) and e.segment.n == n for e in found)


# ---- the same as live


@pytest.mark.slow
async def test_a_preview_reports_the_incidents_of_the_service(server: NatsServer, admin: Client) -> None:
    """One segment is missing, one late, one repeated, and some messages are no detections."""
    await use(admin, "lobby", ALONE)
    scene = detections(BUSY, 26, fps=4)
    sent = [*scene[:9], *scene[10:14], scene[15], scene[14], scene[12], *scene[16:]]
    limits = {"analytics_reorder_s": 0.5, "analytics_idle_s": 1.0}
    async with running(server, **limits):
        for n, event in enumerate(sent):
            await publish(admin, [event])
            if n % 8 == 0:
                nonsense = (b'{"camera":', b"\xff", b'{"a":\n1}')[n // 8 % 3]
                await admin.jetstream().publish("events.detections.lobby", nonsense)
        both = await until(admin, lambda f: over(f, scene[-1].segment.n))
        live = [event for _, event in both]
    async with Log(admin, names.EVENTS) as stored:
        read = await stored.all(names.event("detections", "lobby"))
    end = dt.datetime.now(dt.UTC) + HOUR
    variables = {name.upper(): str(value) for name, value in limits.items()}
    code, found = run(preview_of(read, end=end), **variables)
    reports = [event for event in live if type(event) is Incident]
    assert {i.rule for i in reports} == {r["id"] for r in ALONE["rules"]}
    assert [events.encode(i) for i in incidents(found)] == [events.encode(i) for i in reports]
    last = found[-1]
    assert (code, last.segments, last.unreadable) == (0, len(read), 4)
    assert last.incidents == len({i.incident for i in reports})
    assert last.tracks == len({t.id for t in tracked(live)})


@given(scenes, lateness)
@example(detections(BUSY, 26, fps=4, start=BEGIN), [0] * 24)
@settings(max_examples=examples(25))
def test_a_preview_reports_the_live_events_in_any_order(found: list[Detections], tenths: list[int]) -> None:
    arrivals = delayed(found, tenths)
    outs = play(arrivals, msgspec.convert(ALONE, Rules))
    end = BEGIN + dt.timedelta(seconds=AFTER)
    reply = answered(preview_of(log(arrivals), end=end))
    assert incidents(reply) == of(outs, Incident)


def last_of(found: Iterable[Incident]) -> dict[str, Incident]:
    return {i.incident: i for i in found}


@given(scenes, st.integers(0, 26), st.integers(1, 26))
@example(detections(BUSY, 26, fps=4, start=BEGIN), 13, 2)
@settings(max_examples=examples(25))
def test_incidents_outside_the_time_are_not_reported(found: list[Detections], first: int, seconds: int) -> None:
    since = BEGIN + dt.timedelta(seconds=first)
    until = since + dt.timedelta(seconds=seconds)
    end = BEGIN + dt.timedelta(seconds=AFTER)
    of_all = last_of(of(play(in_time(found), msgspec.convert(ALONE, Rules)), Incident))
    event = last_of(incidents(answered(preview_of(log(in_time(found)), since=since, until=until, end=end))))
    assert event == {id: i for id, i in of_all.items() if i.start <= until and i.end and i.end >= since}


def test_an_ongoing_incident_is_reported_without_an_end(tmp_path: Path) -> None:
    """An object that stays was there before the time, and is still there after it."""
    scene = log(in_time(detections(BUSY, 20, fps=4, start=BEGIN)))
    since = BEGIN + dt.timedelta(seconds=15)
    event = incidents(answered(preview_of(scene, since=since, end=scene[-1].time)))
    (stop,) = [i for i in event if i.rule == "stop"]
    assert stop.end is None and stop.start < since
    assert stop.objects[0].label == "car" and stop.snapshot.time < since


def test_a_preview_uses_no_model_and_raises_no_alert() -> None:
    stored = log(in_time(detections(BUSY, 26, fps=4, start=BEGIN)))
    end = BEGIN + dt.timedelta(seconds=AFTER)
    asking = incidents(answered(preview_of(stored, rules=RULES, end=end)))
    assert any(rule.verify for rule in BOOK.rules) and {i.verification for i in asking} == {"none"}
    assert asking == incidents(answered(preview_of(stored, end=end)))


def test_progress_grows_to_one() -> None:
    stored = log(in_time(detections(BUSY, 26, fps=4, start=BEGIN)))
    found = answered(preview_of(stored, since=BEGIN, until=BEGIN + dt.timedelta(seconds=26)))
    done = [one.done for one in found if one.done is not None]
    assert done == sorted(done) and done[-1] == 1.0 and 20 < len(done) <= 100


# ---- invalid requests


def test_every_mistake_in_the_rules_is_reported_with_its_path() -> None:
    wrong = {"zones": {"door": {"polygon": [[0, 0], [1, 1]]}}, "rules": [{"id": "a", "kind": "enter", "zone": "dor"}]}
    code, (only,) = run(preview_of([], rules=wrong))
    assert code == 0 and only.mistakes
    assert {m.path for m in only.mistakes} == {"zones.door.polygon", "rules[0].zone"}
    assert any("did you mean 'door'?" in m.text for m in only.mistakes)


SECOND = log(in_time(detections(BUSY, 1, start=BEGIN)))
FIRST = preview.request("lobby", ALONE, SINCE, UNTIL)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "the first line can't be read"),
        (b"{}\n", "the first line can't be read: Object missing required field `camera`"),
        (b"\xff\xfe\n", "the first line can't be read"),
        (FIRST.replace(b"lobby", b"a.b"), "the first line can't be read"),
        (preview.request("lobby", ALONE, UNTIL, SINCE), "is not before until"),
        (preview.request("lobby", ALONE, START, START), "is not before until"),
        (FIRST, "the input ended before its last line"),
        (preview_of(SECOND, end=None), "the input ended before its last line"),
        (FIRST + b"nonsense\n", "line 2 can't be read"),
        (FIRST + b'{"at":"2026-11-25T12:00:00"}\n', "line 2 can't be read"),
        (FIRST + b'{"at":"9999-11-25T12:00:00Z"}\n', "none that a clock shows"),
        (FIRST + b'{"at":"2026-11-25T12:00:00Z","seq":-1}\n', "line 2 can't be read"),
        (preview_of([*SECOND, *SECOND]), "send them as EVENTS has them, oldest first"),
        (b"[" * 100_000 + b"\n", "the first line can't be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_request_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(BadMessage, match=re.escape(why)):
        answered(text)


def test_a_refusal_is_one_line_and_an_exit_code() -> None:
    code, (only,) = run(FIRST + b"nonsense\n")
    assert (code, only) == (2, Answer(error="line 2 can't be read: JSON is malformed: invalid character (byte 4)"))


def test_an_invalid_setting_is_one_clear_error() -> None:
    code, (only,) = run(preview_of([]), ANALYTICS_FPS="many")
    assert code == 2 and "ANALYTICS_FPS='many' can't be used" in (only.error or "")


@pytest.mark.parametrize(
    ("bound", "most", "why"),
    [
        ("MOST_SEGMENTS", 3, "more than 3 segments: choose a shorter time"),
        ("MOST_BYTES", 5000, "more than 5000 bytes of detections: choose a shorter time"),
        ("MOST_LINE", 1000, "a line has more than 1000 bytes"),
        ("MOST_INCIDENTS", 3, "more than 3 incidents"),
    ],
)
def test_input_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch, bound: str, most: int, why: str) -> None:
    stored = log(in_time(detections(BUSY, 26, fps=4, start=BEGIN)))
    simple = {"rules": [{"id": "some", "kind": "count", "over": 0}]} if bound == "MOST_LINE" else ALONE
    monkeypatch.setattr(preview, bound, most)
    with pytest.raises(BadMessage, match=why):
        answered(preview_of(stored, rules=simple))


# ---- a process


# The request, and a second without objects in the middle of its time.
HALF = preview_of([Stored(1, "", START, {}, events.encode(detections([], 1)[0]))], rules={}, end=None)


def crowd(n: int) -> bytes:
    """A line of detections that takes long."""
    objects = [DetectedObject(label="person", score=0.9, box=(x / 300, 0.1, x / 300 + 0.01, 0.4)) for x in range(290)]
    event = detections([], 1, first=n, seq=n + 1, start=START + dt.timedelta(seconds=n))[0]
    frames = [msgspec.structs.replace(f, objects=objects) for f in event.frames]
    return preview.detections(n + 1, event.start, events.encode(msgspec.structs.replace(event, frames=frames)))


def begin(child: subprocess.Popen[bytes]) -> None:
    """Wait for its first answer: it has set its limits by then."""
    assert child.stdin and child.stdout
    child.stdin.write(HALF)
    child.stdin.flush()
    assert preview.answer(child.stdout.readline()).done == 0.5


def feed(child: subprocess.Popen[bytes], lines: Sequence[bytes]) -> list[Answer]:
    """Its answers until it ends by itself."""
    assert child.stdin and child.stdout
    with contextlib.suppress(BrokenPipeError):
        for line in lines:
            child.stdin.write(line)
            child.stdin.flush()
    return [preview.answer(line) for line in child.stdout.read().splitlines()]


@pytest.mark.slow
def test_a_preview_has_a_processor_limit() -> None:
    with process() as child:
        begin(child)
        soft, hard = resource.prlimit(child.pid, resource.RLIMIT_CPU)
        assert 60 <= soft <= 65 and hard == soft + 5
        resource.prlimit(child.pid, resource.RLIMIT_CPU, (2, hard))
        found = feed(child, [crowd(n) for n in range(1, 600)])
        assert child.wait(patience_s()) == 2
    assert "choose a shorter time" in (found[-1].error or "")


def test_a_preview_has_a_memory_limit() -> None:
    with process() as child:
        begin(child)
        soft, hard = resource.prlimit(child.pid, resource.RLIMIT_AS)
        assert 0 < soft == hard < 8 * 2**30
        size = int(Path(f"/proc/{child.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(child.pid, resource.RLIMIT_AS, (size, hard))
        found = feed(child, [b" " * (preview.MOST_LINE - 1) + b"\n"])
        assert child.wait(patience_s()) == 2
    assert "MB: choose a shorter time" in (found[-1].error or "")


def test_a_preview_ends_when_its_input_closes() -> None:
    with process() as child:
        begin(child)
        assert child.stdin and child.stdout
        child.stdin.close()
        assert child.wait(patience_s()) == 2


def test_a_preview_ends_silently_when_its_output_closes() -> None:
    with process() as child:
        begin(child)
        assert child.stdin and child.stdout and child.stderr
        child.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(preview.end(UNTIL))
            child.stdin.flush()
        assert child.wait(patience_s()) == 1
        assert child.stderr.read() == b""


def test_a_preview_ends_with_its_parent() -> None:
    """Another process holds its input open, so that only the kernel reports the parent's death."""
    reading, writing = os.pipe()
    program = (
        "import subprocess, sys; from shared.runtime.child import bound, python; "
        "child = subprocess.Popen(bound(python('services.analytics.preview')), stdin=int(sys.argv[1])); "
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(reading)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[reading],
    )
    try:
        assert parent.stdin and parent.stdout
        os.write(writing, HALF)
        child = int(parent.stdout.readline())
        assert json.loads(parent.stdout.readline()) == {"done": 0.5}
        parent.send_signal(signal.SIGKILL)
        # The child shares the pipe.
        assert parent.stdout.read() == b""
        assert not Path(f"/proc/{child}/exe").exists()
    finally:
        parent.kill()
        parent.wait()
        os.close(reading)
        os.close(writing)
