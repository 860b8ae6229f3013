"""Jobs as text, questions as jobs, and captions in the groups that a summary is made of."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.vlm.kinds import caption
from services.vlm.kinds.summarize import FEWEST, MOST_ROUNDS, group, line
from services.vlm.planning import query
from shared import bus
from shared.contract.events import Part
from shared.contract.work import jobs
from shared.contract.work.jobs import Ask, Caption, Check, Job, Summarize, Verify
from shared.runtime.errors import BadMessage, Refusal
from tests.support.schemas import Validator

NOW = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
MS = dt.timedelta(milliseconds=1)
STRETCH = {"start": "2026-11-24T13:00:00Z", "end": "2026-11-24T13:01:00Z"}


SCHEMA = jobs.json_schema()
OF_KIND = {kind: Validator({"$ref": f"#/$defs/{kind.__name__}", "$defs": SCHEMA["$defs"]}) for kind in jobs.KINDS}

# ---- jobs as text

cameras = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ids = st.from_regex(r"[A-Za-z0-9_.:-]{1,128}", fullmatch=True)
some = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
texts = some.filter(bool)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
times = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=zones)
stretches = st.tuples(times, st.timedeltas(MS, dt.timedelta(days=3)))


@st.composite
def any_job(draw: st.DrawFn) -> Job:
    start, length = draw(stretches)
    own: dict[str, Any] = {"camera": draw(cameras), "id": draw(st.none() | ids)}
    span: dict[str, Any] = {"start": start, "end": start + length}
    match draw(st.sampled_from(jobs.KINDS)):
        case jobs.Verify:
            seqs = draw(st.lists(st.integers(1, 2**53), min_size=1, max_size=9))
            existing = draw(st.sampled_from([{}, span]))
            rule = draw(st.none() | some)
            return Verify(incident=draw(ids), prompt=draw(texts), segments=seqs, rule=rule, **own, **existing)
        case jobs.Ask:
            return Ask(question=draw(texts), **own, **span)
        case jobs.Summarize:
            return Summarize(prompt=draw(some), **own, **span)
        case _:
            return Caption(prompt=draw(some), **own, **span)


@given(any_job())
def test_a_job_round_trips_and_matches_its_schema(job: Job) -> None:
    at, text = jobs.subject(job), jobs.encode(job)
    assert at == f"jobs.vlm.{job.kind}.{job.camera}"
    assert jobs.decode(at, text) == job
    OF_KIND[type(job)].validate(json.loads(text))


@given(any_job())
def test_a_job_matches_the_schema_of_all_jobs(job: Job) -> None:
    Validator(SCHEMA).validate(json.loads(jobs.encode(job)))


@given(any_job())
def test_the_schema_refuses_invalid_jobs(job: Job) -> None:
    text = json.loads(jobs.encode(job))
    for wrong in (text | {"camera": "a b"}, {k: v for k, v in text.items() if k != "camera"}):
        assert not OF_KIND[type(job)].is_valid(wrong)
        assert not Validator(SCHEMA).is_valid(wrong)


def test_the_schema_is_valid() -> None:
    Validator.check_schema(SCHEMA)
    assert set(SCHEMA["$defs"]) == {"Verify", "Check", "Ask", "Summarize", "Caption"}


@given(cameras, ids, texts, texts)
def test_two_jobs_of_one_incident_are_the_same_job(camera: str, incident: str, one: str, other: str) -> None:
    first = Verify(camera=camera, incident=incident, prompt=one, segments=[1])
    second = Verify(camera=camera, incident=incident, prompt=other, segments=[2, 3], rule="r", id="another")
    assert first.message_id == second.message_id
    assert Verify(camera=camera + "2", incident=incident, prompt=one, segments=[1]).message_id != first.message_id
    assert Verify(camera=camera, incident=incident + "2", prompt=one, segments=[1]).message_id != first.message_id


@given(cameras, stretches, zones)
def test_captions_of_one_stretch_are_the_same_job(
    camera: str, stretch: tuple[dt.datetime, dt.timedelta], zone: dt.timezone
) -> None:
    start = stretch[0].replace(microsecond=stretch[0].microsecond // 1000 * 1000)
    end = start + max(1, stretch[1] // MS) * MS
    one = Caption(camera=camera, start=start, end=end)
    assert Caption(camera=camera, start=start.astimezone(zone), end=end, prompt="x").message_id == one.message_id
    for other in (
        Caption(camera=camera + "2", start=start, end=end),
        Caption(camera=camera, start=start - MS, end=end),
        Caption(camera=camera, start=start, end=end + MS),
        Caption(camera=camera, start=start, end=end, id="asked-again"),
    ):
        assert other.message_id != one.message_id


def test_questions_and_summaries_are_identified_by_their_id_only() -> None:
    start, end = NOW - MINUTE, NOW
    assert Ask(camera="lobby", question="Who?", start=start, end=end).message_id is None
    assert Summarize(camera="lobby", start=start, end=end).message_id is None
    ask = Ask(camera="lobby", question="Who?", start=start, end=end, id="a-1")
    assert ask.message_id and ask.message_id != Summarize(camera="lobby", start=start, end=end, id="a-1").message_id
    assert ask.message_id == Ask(camera="lobby", question="What?", start=start, end=end, id="a-1").message_id


async def test_a_question_without_an_id_is_not_published() -> None:
    with pytest.raises(ValueError, match="needs an id"):
        await bus.publish_job(None, Ask(camera="lobby", question="Who?", start=NOW - MINUTE, end=NOW))  # type: ignore[arg-type]


ASK = {"camera": "lobby", "question": "Who?", **STRETCH}
VERIFY = {"camera": "lobby", "incident": "i-17", "prompt": "A fall", "segments": [1]}


@pytest.mark.parametrize(
    ("at", "data", "says"),
    [
        ("jobs.vlm.dance.lobby", ASK, "'jobs.vlm.dance.lobby'"),
        ("jobs.vlm", ASK, "jobs.vlm.<kind>.<camera>"),
        ("media.lobby", ASK, "'media.lobby'"),
        ("ask.lobby", ASK, "'ask.lobby'"),
        ("jobs.vlm.ask.street", ASK, "'jobs.vlm.ask.street'"),
        ("jobs.vlm.ask.lobby.door", ASK, "'jobs.vlm.ask.lobby.door'"),
        ("jobs.vlm.ask.lobby", b"", "kind ask"),
        ("jobs.vlm.ask.lobby", b"Who?", "kind ask"),
        ("jobs.vlm.ask.lobby", b'{"question": "\xff"}', "kind ask"),
        ("jobs.vlm.ask.lobby", [ASK], "kind ask"),
        ("jobs.vlm.ask.lobby", STRETCH | {"camera": "lobby"}, "`question`"),
        ("jobs.vlm.ask.lobby", ASK | {"camera": "the lobby"}, "$.camera"),
        ("jobs.vlm.ask.lobby", ASK | {"question": ""}, "$.question"),
        ("jobs.vlm.ask.lobby", ASK | {"question": "x" * 4001}, "$.question"),
        ("jobs.vlm.ask.lobby", ASK | {"id": "a b"}, "$.id"),
        ("jobs.vlm.ask.lobby", ASK | {"id": "a\n"}, "$.id"),
        ("jobs.vlm.ask.lobby", ASK | {"start": "2026-11-24T13:00:00"}, "$.start"),
        ("jobs.vlm.ask.lobby", ASK | {"end": "soon"}, "$.end"),
        ("jobs.vlm.ask.lobby", ASK | {"end": STRETCH["start"]}, "start"),
        ("jobs.vlm.summarize.lobby", {"camera": "lobby", "start": STRETCH["end"], "end": STRETCH["start"]}, "start"),
        ("jobs.vlm.caption.lobby", {"camera": "lobby", "start": STRETCH["end"], "end": STRETCH["start"]}, "start"),
        ("jobs.vlm.caption.lobby", {"camera": "lobby", "start": STRETCH["start"]}, "`end`"),
        ("jobs.vlm.caption.lobby", {"camera": "lobby", "prompt": "x" * 4001, **STRETCH}, "$.prompt"),
        ("jobs.vlm.verify.lobby", VERIFY | {"segments": []}, "$.segments"),
        ("jobs.vlm.verify.lobby", VERIFY | {"segments": [0]}, "$.segments"),
        ("jobs.vlm.verify.lobby", VERIFY | {"segments": [1] * 1001}, "$.segments"),
        ("jobs.vlm.verify.lobby", VERIFY | {"incident": ""}, "$.incident"),
        ("jobs.vlm.verify.lobby", VERIFY | {"rule": "x" * 201}, "$.rule"),
    ],
)
def test_an_invalid_job_is_refused_by_its_field_or_subject(at: str, data: Any, says: str) -> None:
    with pytest.raises(BadMessage) as e:
        jobs.decode(at, data if isinstance(data, bytes) else json.dumps(data).encode())
    assert says in str(e.value)


def test_unknown_fields_are_ignored() -> None:
    job = jobs.decode("jobs.vlm.verify.lobby", json.dumps(VERIFY | {"site": "north"}).encode())
    assert job == Verify(camera="lobby", incident="i-17", prompt="A fall", segments=[1])


# ---- questions into jobs


def job_of(**request: Any) -> Job:
    return query.job_of(query.read(json.dumps(request).encode()), NOW)


def test_each_kind_of_question_becomes_its_job() -> None:
    stretch = {"since": "2026-11-24T12:00:00Z", "until": "2026-11-24T13:30:00+01:00"}
    span = {"start": NOW - 60 * MINUTE, "end": NOW - 30 * MINUTE}
    ask = job_of(kind="ask", camera="lobby", question="Who?", **stretch)
    assert ask == Ask(camera="lobby", id=ask.id, question="Who?", wait_s=120, **span)
    described = job_of(kind="caption", camera="lobby", **stretch)
    assert described == Ask(camera="lobby", id=described.id, question=caption.PROMPT, wait_s=120, **span)
    own = job_of(kind="caption", camera="lobby", prompt="Cars?", wait_s=7.5, **stretch)
    assert own == Ask(camera="lobby", id=own.id, question="Cars?", wait_s=7.5, **span)
    summary = job_of(kind="summarize", camera="lobby", prompt="Briefly.", **stretch)
    assert summary == Summarize(camera="lobby", id=summary.id, prompt="Briefly.", wait_s=120, **span)
    verify = job_of(kind="verify", camera="lobby", prompt="A fall", segments=[7, 8])
    assert isinstance(verify, Check)
    assert verify == Check(camera="lobby", incident=verify.incident, prompt="A fall", segments=[7, 8], wait_s=120)


@given(cameras, st.sampled_from(["ask", "caption", "summarize", "verify"]))
def test_every_question_is_a_job_of_its_own_that_can_be_published(camera: str, kind: str) -> None:
    request: dict[str, Any] = {"kind": kind, "camera": camera}
    if kind == "ask":
        request["question"] = "Who?"
    elif kind == "verify":
        request |= {"prompt": "A fall", "segments": [1]}
    job, again = job_of(**request), job_of(**request)
    assert job.message_id and again.message_id and job.message_id != again.message_id
    assert query.name_of(job) and query.name_of(job) != query.name_of(again)
    assert jobs.decode(jobs.subject(job), jobs.encode(job)) == job


def test_the_default_range_is_the_last_minute() -> None:
    def stretch(**request: str) -> tuple[dt.datetime, dt.datetime]:
        job = job_of(kind="ask", camera="lobby", question="Who?", **request)
        assert isinstance(job, Ask)
        return job.start, job.end

    assert stretch() == (NOW - MINUTE, NOW)
    assert stretch(since="2026-11-24T12:00:00Z") == (NOW - 60 * MINUTE, NOW)
    assert stretch(until="2026-11-24T12:00:00Z") == (NOW - 61 * MINUTE, NOW - 60 * MINUTE)
    assert query.read(b'{"kind": "ask", "camera": "lobby", "question": "Who?"}').wait_s == 120


QUESTION = {"kind": "ask", "camera": "lobby", "question": "Who?"}
PROOF = {"kind": "verify", "camera": "lobby", "prompt": "A fall", "segments": [1]}


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (b"", "not a question"),
        (b"Who?", "not a question"),
        (b'{"kind": "ask", "camera": "lobby", "question": "\xff"}', "not a question"),
        (["ask"], "not a question"),
        ({"camera": "lobby", "question": "Who?"}, "`kind`"),
        (QUESTION | {"kind": "dance"}, "$.kind"),
        (QUESTION | {"mood": "good"}, "`mood`"),
        ({"kind": "summarize", "camera": "lobby", "question": "Who?"}, "`question`"),
        ({"kind": "ask", "question": "Who?"}, "`camera`"),
        (QUESTION | {"camera": "the lobby"}, "$.camera"),
        (QUESTION | {"camera": ">"}, "$.camera"),
        (QUESTION | {"camera": "lobby\n"}, "$.camera"),
        ({"kind": "ask", "camera": "lobby"}, "`question`"),
        (QUESTION | {"question": ""}, "$.question"),
        (QUESTION | {"question": "x" * 4001}, "$.question"),
        (QUESTION | {"since": "2026-11-24T12:00:00"}, "$.since"),
        (QUESTION | {"until": "noon"}, "$.until"),
        (QUESTION | {"since": "2026-11-24T12:00:00Z", "until": "2026-11-24T12:00:00Z"}, "since"),
        (QUESTION | {"since": "2026-11-24T13:00:01Z"}, "since"),
        (QUESTION | {"until": "0001-01-01T00:00:30Z"}, "until"),
        (QUESTION | {"wait_s": 0}, "$.wait_s"),
        (QUESTION | {"wait_s": 601}, "$.wait_s"),
        (QUESTION | {"wait_s": "60"}, "$.wait_s"),
        (PROOF | {"segments": []}, "$.segments"),
        (PROOF | {"segments": [0]}, "$.segments"),
        (PROOF | {"prompt": ""}, "$.prompt"),
        (PROOF | {"since": "2026-11-24T12:00:00Z"}, "`since`"),
        ({"kind": "verify", "camera": "lobby", "prompt": "A fall"}, "`segments`"),
    ],
)
def test_an_invalid_question_is_refused_by_its_field(question: Any, says: str) -> None:
    data = question if isinstance(question, bytes) else json.dumps(question).encode()
    with pytest.raises(Refusal) as e:
        query.job_of(query.read(data), NOW)
    assert e.value.code == 400
    assert says in str(e.value)


# ---- captions in groups


@st.composite
def captions(draw: st.DrawFn) -> list[Part]:
    found, start = [], NOW
    for text in draw(st.lists(some | st.integers(0, 1500).map(lambda n: "word " * (n // 5)), max_size=40)):
        end = start + dt.timedelta(seconds=draw(st.integers(1, 4000)))
        found.append(Part(start=start, end=end, text=text))
        start = end
    return found


rooms = st.integers(200, 6000)


@given(captions(), rooms | st.integers(1, 200))
def test_every_caption_is_in_one_group_and_in_order(parts: list[Part], characters: int) -> None:
    remaining = [part for one in group(parts, characters) for part in one]
    assert [(part.start, part.end) for part in remaining] == [(part.start, part.end) for part in parts]
    for part, whole in zip(remaining, parts, strict=True):
        assert whole.text.startswith(part.text) and bool(part.text) == bool(whole.text)


@given(captions(), rooms)
def test_only_captions_over_half_a_prompt_are_truncated(parts: list[Part], characters: int) -> None:
    remaining = [part for one in group(parts, characters) for part in one]
    for part, whole in zip(remaining, parts, strict=True):
        if len(whole.text) <= characters // 2 - 30:
            assert part == whole
        assert len(part.text) >= min(len(whole.text), characters // 2 - 30)


@given(captions(), rooms)
def test_a_group_fits_the_prompt(parts: list[Part], characters: int) -> None:
    for one in group(parts, characters):
        assert len("\n".join(map(line, one))) <= characters


@given(captions(), rooms)
def test_a_group_has_as_many_captions_as_fit(parts: list[Part], characters: int) -> None:
    groups = group(parts, characters)
    for one, following in itertools.pairwise(groups):
        assert len("\n".join(map(line, [*one, following[0]]))) >= characters


@given(captions(), rooms | st.integers(1, 200))
def test_every_group_but_the_last_has_the_minimum_of_parts(parts: list[Part], characters: int) -> None:
    groups = group(parts, characters)
    assert all(len(one) >= FEWEST for one in groups[:-1]) and all(groups)
    assert len(groups) <= math.ceil(len(parts) / 2)


@given(captions(), rooms | st.integers(1, 200), st.integers(0, 3000))
def test_repeated_grouping_ends_in_one_group(parts: list[Part], characters: int, count: int) -> None:
    rounds = 0
    while len(parts) > 1:
        groups = group(parts, characters)
        parts = [Part(start=one[0].start, end=one[-1].end, text="x" * count) for one in groups]
        rounds += 1
        assert rounds <= 6 < MOST_ROUNDS


def test_no_captions_make_no_group() -> None:
    assert group([], 1000) == []


@given(captions())
def test_a_line_is_one_line_with_its_times(parts: list[Part]) -> None:
    for part in parts:
        text = line(part)
        assert len(text.splitlines()) == 1
        times, words = text[:23], text[23:]
        assert times == f"{part.start:%m-%d %H:%M:%S}-{part.end:%H:%M:%S}"
        assert words.split() == part.text.split()


def test_a_line_has_the_form_of_a_log() -> None:
    part = Part(start=NOW, end=NOW + MINUTE / 2, text=" A man\nwalks  in.\n")
    assert line(part) == "11-24 13:00:00-13:00:30 A man walks in."
