"""Output at 60, 80 and 120 columns and in a pipe: the input of the next command is never cut."""

from __future__ import annotations

import datetime as dt
import io

import msgspec
import pytest
from rich.console import Console

from shared.contract.questions.explain import Explanation
from shared.contract.questions.search import Moment
from tests.support.worlds.scalers import IDLE
from tidegate.commands import camera, dlq, explain, rules, tracks
from tidegate.view import moments, records, terminal
from tidegate.view.findings import Finding, show
from tidegate.view.monitor import CameraNow, Sample, SystemNow, WorkerNow
from tidegate.view.records import Wrapped

WIDTHS = (60, 80, 120)
NOW = dt.datetime(2026, 11, 24, 13, 30, tzinfo=dt.UTC)
LETTER = (
    "17",
    "analytics",
    "EVENTS/123456",
    "events.detections.loading-dock-north",
    "18234",
    "5",
    "no such model " * 6,
)


def terminal_of(width: int, height: int = 40) -> Console:
    return Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def printed(width: int, *, fields: tuple[str, ...], row: tuple[str, ...]) -> str:
    out = terminal_of(width)
    records.show(out, fields, [row, row], "nothing")
    return text_of(out)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_dead_letter_s_camera_and_number_are_whole(width: int) -> None:
    text = printed(width, fields=dlq.FIELDS, row=LETTER)
    for word in (*LETTER[:6],):
        assert text.count(word) >= 2, text


def test_an_explanation_has_a_line_for_each_sentence_in_a_pipe() -> None:
    out = Console(width=80, file=io.StringIO())
    sentence = "2.28 messages a second arrive, with a dispersion of 1.4 (1 is chance alone); 2.41 are expected " * 2
    reports = Explanation(
        service="cv", of=sentence, terms={}, lines=[sentence.strip()], settings={"x" * 70: 1.0, "y" * 70: 2.0}
    )
    explain.show("autoscaler", reports, out)
    lines = text_of(out).splitlines()
    assert f"  {sentence.strip()}" in lines
    (title,) = [line for line in lines if line.startswith("cv needs")]
    assert title.endswith("(the local autoscaler, not read yet; asked for now)")
    assert f"settings: {'x' * 70} 1, {'y' * 70} 2" in lines


@pytest.mark.parametrize("width", WIDTHS)
def test_a_camera_s_id_and_address_are_whole(width: int) -> None:
    url = "rtsp://10.20.30.40:8554/Streaming/Channels/101"
    row = ("loading-dock-north", "offline", "h264 3840x2160", "12.5", url, "the camera refuses the password " * 3)
    text = printed(width, fields=camera.FIELDS, row=row)
    assert text.count(url) == text.count("loading-dock-north") == 2


@pytest.mark.parametrize("width", WIDTHS)
def test_a_track_s_id_is_whole(width: int) -> None:
    id = "loading-dock-north-1764077402-4711"
    row = (id, "motorcycle", "87%", "13:30:00", "12.5", "125", "0.12/s", "stand, gate", "moving")
    assert printed(width, fields=tracks.FIELDS, row=row).count(id) == 2


@pytest.mark.parametrize("width", WIDTHS)
def test_the_names_of_rules_are_whole(width: int) -> None:
    row = ("loading-dock-north", "stand, gate", "way", "after-hours (enter), wrong-way (crossing), parked (stopped)")
    text = printed(width, fields=rules.FIELDS, row=row)
    for word in ("loading-dock-north", "after-hours", "wrong-way", "parked"):
        assert text.count(word) == 2


@pytest.mark.parametrize("width", WIDTHS)
def test_a_moment_s_id_is_one_word_to_paste(width: int) -> None:
    id = "embed/siglip2-base-patch16-512/MEDIA/1234567#0"
    end = NOW + dt.timedelta(seconds=65)
    found = Moment(
        camera="loading-dock-north", seq=7, start=NOW, end=end, time=NOW, by=["vectors"], similarity=0.31, score=0.9,
        labels=["dog", "person", "bicycle"], id=id, has_video=True,
    )  # fmt: skip
    out = terminal_of(width)
    moments.show(out, [found, found], NOW)
    words = text_of(out).split()
    assert words.count(id) == words.count("loading-dock-north") == 2


@pytest.mark.parametrize("width", WIDTHS)
def test_a_remedy_is_whole(width: int) -> None:
    remedy = "pip install 'tidegate[simulate]' for simulations that take seconds rather than minutes"
    out = terminal_of(width)
    findings = [Finding("Python", "ok", "3.11.2"), Finding("package numba", "note", "not installed", remedy)]
    show(findings, out)
    assert f"remedy: {remedy}\n" in text_of(out)


def test_only_prose_is_wrapped_if_there_is_room() -> None:
    fields = ("id", Wrapped("reason"))
    out = terminal_of(60)
    records.show(out, fields, [("a" * 30, "why " * 20)], "nothing")
    first, *rest = text_of(out).splitlines()[1:]
    assert first.startswith("a" * 30) and "why why" in first
    assert rest and not any("a" in line for line in rest)


def test_a_pipe_has_one_line_for_each_record(capsys: pytest.CaptureFixture[str]) -> None:
    out = Console(file=io.StringIO(), width=20)
    records.show(out, dlq.FIELDS, [(*LETTER[:6], "first line\nsecond\tline")], "no dead letters")
    records.show(out, dlq.FIELDS, [], "no dead letters")
    captured = capsys.readouterr()
    assert text_of(out) == "\t".join((*LETTER[:6], "first line second line")) + "\n"
    assert captured.err == "no dead letters\n"


# ---- the live view


def seen(n: int, state: str, wanted: float = 5.0) -> CameraNow:
    reason = "the camera refuses the password: see 'tidegate camera list'" if state == "offline" else ""
    online = state == "online"
    return CameraNow(
        id=f"camera-{n:02}", state=state, reason=reason, fps_in=25.0 * online, fps_analysed=5.0 * online,
        fps_wanted=wanted,
        seen={"person": 2} if online else {}, p50=0.8 if online else None, p99=1.4 if online else None,
    )  # fmt: skip


def site(online: int, offline: int, connecting: int = 0) -> SystemNow:
    states = ["online"] * online + ["offline"] * offline + ["connecting"] * connecting
    latest = Sample(
        at=9.0, segments_in=28.0, segments_out=27.5, pending=12, ack_pending=4, desired=2, replicas=2,
        cameras_online=online,
    )  # fmt: skip
    workers = [WorkerNow(replica=f"cv-{n}", state="ready", busy=0.7) for n in range(2)]
    return SystemNow(cameras=[seen(n, s) for n, s in enumerate(states)], workers=workers, scaler=IDLE, latest=latest)


def shown(snapshot: SystemNow, width: int, height: int) -> list[str]:
    out = terminal_of(width, height)
    samples = [snapshot.latest, snapshot.latest]
    out.print(terminal.screen(snapshot, samples, width, height))
    return text_of(out).splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [14, 18, 24, 40])
def test_thirty_cameras_fit_and_those_in_trouble_come_first(width: int, height: int) -> None:
    lines = shown(site(online=26, offline=3, connecting=1), width, height)
    # One more line is for the headline, and one for the cursor.
    assert len(lines) + 2 <= height
    assert all(word in lines[0] for word in ("30 cameras", "26 online", "3 offline", "1 connecting"))
    rows = [line for line in lines if line.startswith("camera-")]
    states = [line.split()[1] for line in rows]
    assert states == (["offline"] * 3 + ["connecting"] + ["online"] * 26)[: len(rows)]
    more = 30 - len(rows)
    assert not more or any(line.startswith(f"and {more} more") for line in lines)
    assert any("12 pending" in line for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_an_offline_camera_has_its_reason(width: int) -> None:
    lines = shown(site(online=1, offline=1), width, 40)
    (row,) = [line for line in lines if "offline" in line and line.startswith("camera-")]
    assert "the camera refu" in row


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [14, 24, 40])
def test_deferred_frames_are_shown(width: int, height: int) -> None:
    whole = site(online=26, offline=0)
    late = msgspec.structs.replace(
        whole,
        cameras=[seen(n, "online", wanted=10.0) for n in range(26)],
        latest=msgspec.structs.replace(whole.latest, deferred=0.25),
    )
    lines = shown(late, width, height)
    assert len(lines) + 2 <= height
    assert any("75% analysed" in line and "25% deferred" in line for line in lines)
    assert width < terminal.NARROW or any("5.0 of 10.0" in line for line in lines)
    assert not any("deferred" in line or " of 5.0" in line for line in shown(whole, width, height))


def test_a_site_without_cameras_prints_the_remedy() -> None:
    text = "\n".join(shown(site(0, 0), 80, 24))
    assert "0 cameras" in text and "tidegate camera add" in text
