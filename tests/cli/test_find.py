"""`tidegate find`: what times mean, what is shown, and what is printed if there is no answer."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import os
import sys
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from PIL import Image
from rich.console import Console

from shared.client import find
from shared.contract.questions.search import Found, Moment, Query, Unanswerable
from shared.runtime.errors import SettingError
from shared.video.pictures import jpeg
from tests.support.servers.faulty_search import answering
from tests.support.waiting import patience_s
from tidegate.client import times
from tidegate.commands.find import MOST_IMAGE_BYTES, picture
from tidegate.local.server import NatsServer
from tidegate.view import moments

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
NOW = dt.datetime(2026, 11, 24, 13, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))
RFC_3339 = dt.datetime(2026, 11, 24, 13, 5, tzinfo=dt.UTC)


# ---- times


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.sets(st.sampled_from("dhms")))
def test_durations_count_back_from_now(d: int, h: int, m: int, s: int, left_out: set[str]) -> None:
    parts = {unit: n for unit, n in (("d", d), ("h", h), ("m", m), ("s", s)) if unit not in left_out}
    if parts:
        text = "".join(f"{n}{unit}" for unit, n in parts.items())
        ago = dt.timedelta(**{UNITS[unit]: n for unit, n in parts.items()})
        assert times.instant("--since", text, NOW) == NOW - ago


@given(st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-9, minutes=-30))])))
def test_a_date_with_a_zone_is_exact(time: dt.datetime) -> None:
    text = time.isoformat()
    if 1902 < time.year < 2037:
        assert times.instant("--since", text, NOW) == time
        if time.tzinfo is dt.UTC:
            assert times.instant("--since", text.replace("+00:00", "Z"), NOW) == time


@given(st.times())
def test_a_clock_time_is_today_in_local_time(time: dt.time) -> None:
    for text in (f"{time:%H:%M}", f"{time.hour}:{time:%M}", f"{time.hour}:{time:%M:%S}"):
        found = times.instant("--until", text, NOW)
        local = found.astimezone()
        assert local.date() == NOW.astimezone().date()
        assert (local.hour, local.minute) == (time.hour, time.minute)
        assert local.second == (time.second if text.count(":") == 2 else 0)


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[0-9.:smhdTZ+-]{1,20}", fullmatch=True)))
def test_an_invalid_time_is_reported(text: str) -> None:
    try:
        assert times.instant("--since", text, NOW).tzinfo is not None
    except SettingError as e:
        assert "--since" in str(e) and "13:05" in str(e)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "5", "1w", "h", "-1h", "1.2.3h", "99999999999d"])
def test_near_misses_are_suggested(text: str) -> None:
    with pytest.raises(SettingError, match="is no time"):
        times.instant("--until", text, NOW)


# ---- what is shown


def moment(start: dt.datetime, seconds: float = 4.0, **fields: object) -> Moment:
    end = start + dt.timedelta(seconds=seconds)
    defaults: dict[str, object] = {"camera": "street", "seq": 7, "by": ["vectors"]}
    return Moment(start=start, end=end, time=start, **defaults | fields)  # type: ignore[arg-type]


def printed(*found: Moment, width: int = 120) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, force_terminal=True)
    moments.show(console, found, NOW)
    return console.export_text().splitlines()


def test_each_moment_has_a_row() -> None:
    both = moment(
        NOW, 65, similarity=0.3121, score=0.914, has_video=True, id="embed/m/MEDIA/7#0", labels=["dog", "person"]
    )
    head, first, second, third = printed(
        both,
        moment(NOW - dt.timedelta(days=1), similarity=0.156, id="x#1"),
        moment(NOW, 0.4, camera="lobby", score=0.457, by=["labels"]),
    )
    assert head.split() == ["when", "length", "camera", "match", "labels", "video", "id"]
    for words in ("13:30:00", "1:05", "street", "0.312 + label 0.91", "dog, person", "kept", "embed/m/MEDIA/7#0"):
        assert words in first
    assert "2026-11-23 13:30:00" in second
    assert "expired" in second
    assert "0.4 s" in third and "label 0.46" in third and "0.000" not in third
    assert [line.count("▆") for line in (first, second, third)] == [8, 4, 4]


def test_moments_of_recordings_are_marked_with_their_run() -> None:
    head, first, second = printed(moment(NOW, similarity=0.3, id="x#1", run="20261129-130500"), moment(NOW, score=0.4))
    assert head.split()[-1] == "run" and first.split()[-1] == "20261129-130500" and "2026112" not in second


def test_a_long_id_is_whole_on_a_narrow_screen() -> None:
    id = "embed/siglip2-base/MEDIA/1234567#0"
    shown = printed(moment(NOW, similarity=0.3, id=id, labels=["person", "bicycle"]), width=60)
    assert [line.split() for line in shown if line.startswith("id")] == [["id", id]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (0.4, "0.4 s"), (1.2, "1 s"), (59.7, "1:00"), (3599, "59:59"), (3725, "1:02:05")],
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert times.length(seconds) == text


def test_an_empty_result_states_the_searched_range_and_a_remedy() -> None:
    query = Query(text="a red car", cameras=["street", "lobby"], since=NOW, labels=["car"], min_score=0.3)
    reply = moments.search_summary(query)
    for words in ("'a red car'", "with label car", "street, lobby", "since", "0.3"):
        assert words in reply
    lines = moments.remarks(Found(moments=[], note="matched by labels alone", pending=12), query)
    assert lines[0] == "matched by labels alone"
    assert "12 events" in lines[1]
    assert lines[2] == "try without --camera or --since or --label or --min-score"
    assert moments.remarks(Found(moments=[moment(NOW)]), query) == []
    labels_alone = Query(labels=["car"])
    assert moments.search_summary(labels_alone) == "looked for label car on all cameras"
    assert moments.remarks(Found(moments=[]), labels_alone) == []


# ---- pictures to search by


def test_a_large_picture_is_scaled_down(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 3000, 3), np.uint8)
    large, small = tmp_path / "large.jpg", tmp_path / "small.jpg"
    large.write_bytes(jpeg(noise))
    small.write_bytes(jpeg(noise[:50, :80]))
    assert large.stat().st_size > MOST_IMAGE_BYTES
    sent = picture(large)
    assert len(sent) <= MOST_IMAGE_BYTES
    with av.open(io.BytesIO(sent)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (1280, 640)
    assert picture(small) == small.read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(large, exif=exif, quality=95)
    with av.open(io.BytesIO(picture(large))) as container:
        size = (container.streams.video[0].width, container.streams.video[0].height)
    assert size == (1280, 2560), "upright, as the telephone was held"
    nonsense = tmp_path / "nonsense.jpg"
    nonsense.write_bytes(os.urandom(MOST_IMAGE_BYTES + 1))
    with pytest.raises(SettingError, match="JPEG, PNG or WebP"):
        picture(nonsense)


async def test_a_query_over_the_servers_limit_is_not_sent(admin: Client) -> None:
    with pytest.raises(SettingError, match=r"max_payload of 8\.0 MB"):
        await find.ask(admin, Query(image=b"\0" * 7_000_000))


# ---- the command


class Done(msgspec.Struct, frozen=True):
    code: int | None
    out: str
    err: str


async def tidegate(server: NatsServer, *arguments: str) -> Done:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tidegate",
        "find",
        *arguments,
        env=os.environ | server.environment("admin") | {"COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), patience_s())
    return Done(process.returncode, out.decode(), err.decode())


async def test_a_missing_search_service_is_answered_with_how_to_start_one(server: NatsServer) -> None:
    done = await tidegate(server, "a dog")
    assert done.code == 1
    assert "tidegate up --search" in done.err and "python -m services.search" in done.err
    assert "Traceback" not in done.err


async def test_a_refusal_of_the_service_is_one_sentence(server: NatsServer, admin: Client) -> None:
    async def refuse(payload: bytes) -> tuple[bytes, dict[str, str]]:
        query = msgspec.json.decode(payload, type=Query)
        assert (query.cameras, query.k, query.labels) == (["street"], 3, ["dog"])
        raise Unanswerable("no embed process encodes queries")

    async def break_down(payload: bytes) -> tuple[bytes, dict[str, str]]:
        raise RuntimeError("the disk is on fire")

    async with answering(admin, find=refuse):
        done = await tidegate(server, "a dog", "--camera", "street", "-k", "3", "--label", "dog")
    assert (done.code, done.err) == (1, "tidegate: no embed process encodes queries\n")
    async with answering(admin, find=break_down):
        done = await tidegate(server, "a dog", "--json")
    assert (done.code, done.out) == (1, "")
    assert "the disk is on fire" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give one of text, image and like, or labels"),
        (("a dog", "--like", "x#0"), "text and like"),
        (("a dog", "--since", "soon"), "--since 'soon' is no time"),
        (("a dog", "--since", "1h", "--until", "2h"), "not before until"),
        (("a dog", "--camera", "a b"), "camera id"),
    ],
)
async def test_an_invalid_query_is_not_sent(server: NatsServer, arguments: tuple[str, ...], words: str) -> None:
    done = await tidegate(server, *arguments)
    assert done.code == 1
    assert words in done.err


async def test_video_that_expires_meanwhile_is_reported_and_the_rest_is_saved(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    best = jpeg(np.full((24, 32, 3), 90, np.uint8))
    found = [
        moment(RFC_3339, camera="lobby", similarity=0.3, has_video=True, id="e#0", picture=best),
        moment(RFC_3339, similarity=0.2, has_video=True, id="e#1"),
        moment(RFC_3339, similarity=0.1, id="e#2"),
    ]

    async def answer(payload: bytes) -> tuple[bytes, dict[str, str]]:
        assert msgspec.json.decode(payload, type=Query).picture
        return msgspec.json.encode(Found(moments=found, model="m")), {}

    async def expire(payload: bytes) -> tuple[bytes, dict[str, str]]:
        raise Unanswerable("its video is no longer kept in MEDIA")

    stem = f"01-lobby-{RFC_3339.astimezone():%Y%m%dT%H%M%S}"
    async with answering(admin, find=answer, clip=expire):
        shown = await tidegate(server, "a dog", "--save", str(tmp_path / "clips"))
        rows = await tidegate(server, "a dog", "--save", str(tmp_path / "clips"), "--json")
    assert shown.code == rows.code == 0, shown.err
    for output in (shown.out, rows.err):
        assert f"no {stem}.mp4: its video is no longer kept" in output
        assert "no 02-" in output and "no 03-" not in output
    written = tmp_path / "clips" / f"{stem}.jpg"
    assert [*(tmp_path / "clips").iterdir()] == [written]
    assert written.read_bytes() == best
    assert str(written) in shown.out
    parsed = [json.loads(line) for line in rows.out.splitlines()]
    assert [(row["id"], row["saved"]) for row in parsed] == [("e#0", [str(written)]), ("e#1", []), ("e#2", [])]
    assert not any("picture" in row for row in parsed)
