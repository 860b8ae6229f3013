"""Which frames a model gets, when, and with which prompt: the arithmetic and the texts of vlm, without a model."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import unicodedata
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.vlm.endpoints import prompt, tracing
from services.vlm.endpoints.model import event_name
from services.vlm.endpoints.openai import Completion
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames import sampling
from services.vlm.frames.jpeg import JpegFrame
from services.vlm.kinds.ask import QuestionAnswer
from services.vlm.kinds.summarize import without
from services.vlm.kinds.verify import VerdictAnswer
from services.vlm.planning.stretches import SHORTLY_MS, CaptionPlan, CaptionStretch, begun_by
from services.vlm.settings import VlmSettings
from shared.contract.cameras import LONGEST_CAPTION_S
from shared.contract.events import Part
from shared.contract.segment import Segment, from_headers, to_headers
from shared.contract.work.jobs import Caption
from shared.runtime.errors import SettingError
from shared.runtime.settings import load
from tests.support.schemas import Validator

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
T0 = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)
MICROSECOND = dt.timedelta(microseconds=1)


def at(ms: int) -> dt.datetime:
    return T0 + ms * MS


def segment(
    start: int = 0,
    ms: int = 1000,
    n: int = 0,
    camera: str = "lobby",
    epoch: str = "e",
    size: tuple[int, int] = (64, 64),
) -> Segment:
    """A segment that starts at at(start) and lasts `ms`."""
    return Segment(
        camera=camera,
        epoch=epoch,
        n=n,
        start=at(start),
        duration=ms / 1000,
        codec="h264",
        width=size[0],
        height=size[1],
        frames=1 + ms // 40,
    )


# ---- which stretches are captioned


class Row(NamedTuple):
    """Segments without a gap, of one connection to a camera."""

    segments: list[Segment]
    start: int
    end: int


def row(camera: str, start: int, durations: list[int], epoch: str = "e") -> Row:
    begins = list(itertools.accumulate(durations, initial=start))
    found = [segment(b, ms, n, camera, epoch) for n, (b, ms) in enumerate(zip(begins, durations, strict=False))]
    return Row(found, start, begins[-1])


def milliseconds(of: dt.datetime) -> int:
    return (of - T0) // MS


def begun(segments: list[Segment], plan: CaptionPlan) -> list[CaptionStretch]:
    """Each once: those that several segments begin are the same job."""
    return sorted({stretch for one in segments for stretch in begun_by(one, plan)})


def grid(camera: str, plan: CaptionPlan, after: int, before: int) -> list[CaptionStretch]:
    """All stretches of a camera that end after at(after) and begin before at(before), by one that is known."""
    every, length = round(plan.every_s * 1000), round(plan.length_s * 1000)
    existing = begun([segment(n * 200_000, 200_000, 1 + n, camera) for n in range(3)], plan)[-1]
    first = after + 1 + (milliseconds(existing.end) - after - 1) % every
    return [CaptionStretch(at(end - length), at(end)) for end in range(first, before + length, every)]


cameras = st.sampled_from(["lobby", "street", "yard-2"])
starts = st.integers(-10_000_000, 10_000_000)
durations = st.lists(st.integers(1, 200) | st.integers(800, 12_000), min_size=1, max_size=25)
plans = st.builds(
    lambda every, chunk, overlap: CaptionPlan(every_s=every / 1000, chunk_s=chunk / 1000, overlap_s=overlap / 1000),
    st.integers(500, 400_000) | st.integers(500, 5000),
    st.just(0) | st.integers(500, 400_000),
    st.just(0) | st.integers(1, 30_000),
)


@given(cameras, starts, durations, plans)
def test_every_interval_starts_on_time_or_shortly_after(
    camera: str, start: int, lengths: list[int], plan: CaptionPlan
) -> None:
    segments, start, end = row(camera, start, lengths)
    assert begun(segments, plan) == grid(camera, plan, start, end)
    for one in segments:
        for stretch in begun_by(one, plan):
            earliest = one.start - SHORTLY_MS * MS
            begins_here = earliest <= stretch.start < one.start + round(one.duration * 1000) * MS
            assert begins_here or (one.n == 0 and stretch.start < one.start < stretch.end)


@given(cameras, plans)
def test_an_interval_that_ends_as_the_camera_appears_is_not_captioned(camera: str, plan: CaptionPlan) -> None:
    row = [segment(n * 200_000, 200_000, n + 1, camera) for n in range(2)]
    existing = begun(row, plan)[-1]
    end = milliseconds(existing.end)
    assert existing not in begun_by(segment(end, 1000, 0, camera), plan)
    assert existing in begun_by(segment(end - 1, 1000, 0, camera), plan)
    # An interval that begins with a segment belongs to that segment, and not to the previous one.
    start = milliseconds(existing.start)
    assert existing in begun_by(segment(start, 1000, 2, camera), plan)
    assert existing not in begun_by(segment(start - 1000, 1000, 1, camera), plan)


@given(cameras, starts, durations, plans)
def test_intervals_are_evenly_spaced_and_equally_long(
    camera: str, start: int, lengths: list[int], plan: CaptionPlan
) -> None:
    found = begun(row(camera, start, lengths).segments, plan)
    wanted = min(LONGEST_CAPTION_S, (plan.chunk_s or plan.every_s) + plan.overlap_s)
    for stretch in found:
        assert (stretch.end - stretch.start).total_seconds() == pytest.approx(wanted, abs=0.001)
    for a, b in itertools.pairwise(found):
        assert (b.end - a.end).total_seconds() == pytest.approx(plan.every_s, abs=0.001)


@given(cameras, starts, st.integers(1, 12_000), st.integers(1, 10**6), plans)
def test_an_interval_depends_only_on_the_camera_and_the_time(
    camera: str, start: int, ms: int, n: int, plan: CaptionPlan
) -> None:
    one = segment(start, ms, n, camera)
    assert begun_by(segment(start, ms, 1, camera, "another"), plan) == begun_by(one, plan)
    assert begun_by(from_headers(to_headers(one)), plan) == begun_by(one, plan)


def test_the_grid_counts_from_1970_in_every_process() -> None:
    (stretch,) = begun_by(segment(0, 60_000, 1), CaptionPlan(every_s=60))
    assert stretch == (at(56_279), at(116_279))
    assert (stretch.end - EPOCH) // MS % 60_000 == 56_279


@given(cameras, starts, durations, durations, st.just(0) | st.integers(1, 600_000), plans)
def test_a_returning_camera_gets_the_same_intervals_and_no_more(
    camera: str, start: int, before: list[int], after: list[int], gap: int, plan: CaptionPlan
) -> None:
    first = row(camera, start, before)
    second = row(camera, first.end + gap, after, "f")
    found = begun([*first.segments, *second.segments], plan)
    parts = [grid(camera, plan, r.start, r.end) for r in (first, second)]
    assert found == sorted({*parts[0], *parts[1]})
    if not gap:
        assert found == begun(row(camera, start, before + after).segments, plan)
    # Intervals in both are planned twice, and are the same job.
    ids = {Caption(camera=camera, start=s.start, end=s.end, prompt=str(n)).message_id for n, s in enumerate(found)}
    assert len(ids) == len(found)


@given(cameras, starts, st.floats(0, 0.0004), st.floats(0, 100))
def test_nothing_is_captioned_without_an_interval(camera: str, start: int, every_s: float, chunk_s: float) -> None:
    assert begun_by(segment(start, 10_000, 0, camera), CaptionPlan(every_s=every_s, chunk_s=chunk_s)) == []


def test_a_segment_that_claims_an_hour_starts_intervals_of_minutes() -> None:
    plan = CaptionPlan(every_s=1, chunk_s=300)
    assert len(begun_by(segment(0, 3_600_000, 0, "lobby"), plan)) == 600


def test_cameras_do_not_all_ask_at_the_same_time() -> None:
    ends = {begun_by(segment(0, 60_000, 1, f"camera-{n}"), CaptionPlan(every_s=60))[0].end for n in range(50)}
    assert len(ends) > 40
    assert len({end.second for end in ends}) > 20


# ---- which frames of them


@given(starts, st.integers(1_000, 10**8), st.integers(1, 64))
def test_instants_are_in_the_middle_of_equal_shares(start: int, ms: int, count: int) -> None:
    found = sampling.instants(at(start), at(start + ms), count)
    share_us = ms * 1000 / count
    assert len(found) == count and found == sorted(set(found))
    assert at(start) < found[0] and found[-1] < at(start + ms)
    for n, instant in enumerate(found):
        assert (instant - at(start)) // MICROSECOND == pytest.approx((n + 0.5) * share_us, abs=2)


@given(st.lists(st.integers(1, 10**6), unique=True, max_size=200).map(sorted), st.integers(1, 40))
def test_items_are_dropped_evenly(items: list[int], count: int) -> None:
    found = sampling.evenly(items, count)
    assert len(found) == min(count, len(items))
    assert found == sorted(set(found)) and set(found) <= set(items)
    if len(items) <= count:
        assert found == items
    places = [items.index(item) for item in found]
    steps = [b - a for a, b in itertools.pairwise(places)]
    assert not steps or max(steps) - min(steps) <= 1
    if found and len(items) > count:
        assert abs(places[0] - (len(items) - 1 - places[-1])) <= 1


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=30), st.integers(1, 40))
def test_frames_are_spread_over_segments_by_duration(lengths: list[int], count: int) -> None:
    seconds = [ms / 1000 for ms in lengths]
    found = sampling.offsets(seconds, count)
    assert len(found) == len(seconds) and sum(map(len, found)) == count
    share = sum(seconds) / count
    wanted = iter([(n + 0.5) * share for n in range(count)])
    begin = 0.0
    for duration, offsets in zip(seconds, found, strict=True):
        assert all(0 <= offset <= duration + 1e-9 for offset in offsets) and offsets == sorted(offsets)
        places = [next(wanted) for _ in offsets]
        assert all(begin - 1e-9 <= place <= begin + duration + 1e-9 for place in places)
        assert offsets == ([0.0] if len(offsets) == 1 else pytest.approx([place - begin for place in places]))
        begin += duration


# ---- the prompts


jpegs = st.binary(min_size=9, max_size=60).map(lambda data: b"\xff\xd8" + data)
frames = st.lists(
    st.builds(JpegFrame, time=starts.map(at), seq=st.integers(1, 10**9), jpeg=jpegs),
    max_size=12,
    unique_by=lambda f: f.time,
).map(sorted)
medias = st.sampled_from(["images", "video"])


def content(body: dict[str, Any]) -> list[dict[str, Any]]:
    (message,) = body["messages"]
    assert message["role"] == "user"
    parts: list[dict[str, Any]] = json.loads(json.dumps(message["content"]))
    return parts


@given(frames)
def test_every_image_follows_its_time_and_the_question_comes_last(shown: list[JpegFrame]) -> None:
    body = prompt.request(Prompt(text="What happens?", frames=shown, max_tokens=99), media="images", temperature=0.5)
    *parts, question = content(body)
    assert question == {"type": "text", "text": "What happens?"}
    assert len(parts) == 2 * len(shown)
    for n, (label, image) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        assert label["type"] == "text" and prompt.at(shown[n]) in label["text"] and str(n + 1) in label["text"]
        head, _, data = image["image_url"]["url"].partition(",")
        assert (image["type"], head, b64decode(data)) == ("image_url", "data:image/jpeg;base64", shown[n].jpeg)
    assert (body["max_tokens"], body["temperature"]) == (99, 0.5)
    assert "response_format" not in body


@given(frames)
def test_a_video_holds_all_frames_and_lists_their_times(shown: list[JpegFrame]) -> None:
    assume(len(shown) > 1)
    body = prompt.request(Prompt(text="What happens?", frames=shown, max_tokens=99), media="video", temperature=0)
    video, times, question = content(body)
    head, *data = video["video_url"]["url"].split(",")
    assert (video["type"], head) == ("video_url", "data:video/jpeg;base64")
    assert [b64decode(one) for one in data] == [frame.jpeg for frame in shown]
    reports = [times["text"].index(f"{n}: {prompt.at(frame)}") for n, frame in enumerate(shown, 1)]
    assert reports == sorted(reports)
    assert question["text"] == "What happens?"


def test_one_frame_makes_no_video() -> None:
    one = Prompt(text="What is it?", frames=[JpegFrame(T0, 1, b"\xff\xd8")], max_tokens=99)
    assert prompt.request(one, media="video", temperature=0) == prompt.request(one, media="images", temperature=0)


@pytest.mark.parametrize("answer", [VerdictAnswer, QuestionAnswer])
@pytest.mark.parametrize("media", ["images", "video"])
def test_a_structured_answer_is_requested_by_its_schema(
    answer: type[msgspec.Struct], media: Literal["images", "video"]
) -> None:
    question = Prompt(text="Is it so?", answer=answer, max_tokens=99)
    format = prompt.request(question, media=media, temperature=0)["response_format"]
    assert format["type"] == "json_schema" and format["json_schema"]["name"] == answer.__name__
    schema = format["json_schema"]["schema"]
    Validator.check_schema(schema)
    assert schema["additionalProperties"] is False and set(schema["required"]) == set(answer.__struct_fields__)
    assert "$ref" not in json.dumps(schema)


@pytest.mark.parametrize(
    ("answer", "good", "bad"),
    [
        (
            VerdictAnswer,
            {"verdict": "rejected", "confidence": 80, "reason": "A dog."},
            [
                *({"verdict": v} for v in ("maybe", "", None, 1)),
                *({"confidence": c} for c in (-1, 101, 0.5, "80", None)),
                *({"reason": r} for r in ("x" * 241, 1, None)),
                {"mood": "good"},
            ],
        ),
        (
            QuestionAnswer,
            {"answer": "An umbrella.", "frames": [1, 3]},
            [
                *({"answer": a} for a in ("x" * 1201, None)),
                *({"frames": f} for f in ([0], [1001], ["1"], [1.5], [1] * 17, 1, None)),
                {"mood": "good"},
            ],
        ),
    ],
)
def test_the_schema_accepts_what_the_struct_accepts(
    answer: type[msgspec.Struct], good: dict[str, Any], bad: list[dict[str, Any]]
) -> None:
    schema = Validator(prompt.schema(answer))
    schema.validate(good)
    assert msgspec.to_builtins(msgspec.json.decode(json.dumps(good), type=answer)) == good
    for wrong in bad:
        assert not schema.is_valid(good | wrong), wrong
    for name in good:
        assert not schema.is_valid({k: v for k, v in good.items() if k != name}), name


def test_the_verdict_precedes_the_reason() -> None:
    assert list(prompt.schema(VerdictAnswer)["properties"]) == ["verdict", "confidence", "reason"]


# ---- the answers

controls = st.characters(categories=["Cc"])
answers = st.text(st.characters(exclude_categories=["Cs"]) | controls, max_size=80).filter(lambda t: "think>" not in t)


@given(answers)
def test_an_answer_is_one_paragraph_without_control_characters(text: str) -> None:
    found = prompt.spoken(text)
    assert not any(unicodedata.category(c) == "Cc" for c in found)
    assert found == " ".join(found.split()) == prompt.spoken(found)
    printable = "".join(c if unicodedata.category(c) != "Cc" else " " for c in text)
    assert found.split() == printable.split()


@given(answers, answers)
def test_reasoning_is_removed_from_the_answer(thought: str, text: str) -> None:
    assert prompt.spoken(f"\n<think>{thought}</think>\n\n{text}") == prompt.spoken(text)
    # Later on it is what is spoken of.
    assert prompt.spoken(f"It says <think>{text}</think>").startswith("It says <think>")


@given(answers, answers)
def test_reasoning_that_starts_in_the_template_is_removed(thought: str, text: str) -> None:
    assert prompt.spoken(f"{thought}</think>\n\n{text}") == prompt.spoken(text)


def test_endless_white_space_costs_little() -> None:
    assert prompt.spoken(" " * 200_000 + "x") == "x"
    assert prompt.spoken("\n" * 200_000 + "<think>" + " " * 200_000 + "</think> y") == "y"


def test_a_missing_segment_loses_no_caption() -> None:
    plan = CaptionPlan(every_s=60)
    (wanted,) = begun_by(segment(0, 60_000, 1), plan)
    begins = milliseconds(wanted.start)
    assert begun_by(segment(begins - 500, 500, 4), plan) == []
    assert begun_by(segment(begins + 500, 1000, 6), plan) == [wanted]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\') | controls, max_size=80))
def test_json_with_raw_control_characters_is_parsed(reason: str) -> None:
    assume("think>" not in reason)
    text = f'<think>\nHm. {{}}</think>\n{{\n\t"verdict": "confirmed", "confidence": 90,\r\n"reason": "{reason}"}}\n'
    found = msgspec.json.decode(prompt.json_of(text), type=VerdictAnswer)
    assert (found.verdict, found.confidence) == ("confirmed", 90)
    assert found.reason.split() == prompt.spoken(reason).split()


def test_times_of_frames_are_written_to_a_tenth_of_a_second() -> None:
    assert prompt.at(JpegFrame(dt.datetime(2026, 11, 24, 13, 0, 5, 299_999, tzinfo=dt.UTC), 1, b"")) == "13:00:05.2"
    assert prompt.at(JpegFrame(dt.datetime(2026, 11, 24, 0, 0, tzinfo=dt.UTC), 1, b"")) == "00:00:00.0"


# ---- what a trace tells of it


@given(frames, medias)
def test_a_trace_has_the_question_and_images_by_reference(
    shown: list[JpegFrame], media: Literal["images", "video"]
) -> None:
    question = Prompt(text="Is it so?", frames=shown, answer=VerdictAnswer, max_tokens=99)
    body = prompt.request(question, media=media, temperature=0.5)
    found = tracing.request("a-model", question, {"model": "a-model", **body})
    assert found["openinference.span.kind"] == "LLM"
    assert found["llm.model_name"] == "a-model"
    assert (found["input.value"], found["input.mime_type"]) == ("Is it so?", "text/plain")
    parameters = json.loads(str(found["llm.invocation_parameters"]))
    assert parameters == {k: v for k, v in body.items() if k != "messages"}
    assert found["llm.input_messages.0.message.role"] == "user"
    contents = "llm.input_messages.0.message.contents"
    for n, frame in enumerate(shown):
        assert found[f"{contents}.{n}.message_content.type"] == "image"
        url = str(found[f"{contents}.{n}.message_content.image.image.url"])
        where, _, time = url.partition("#t=")
        assert where == f"nats:MEDIA/{frame.seq}" and float(time) == pytest.approx(frame.time.timestamp(), abs=0.001)
        assert not any(b64encode(frame.jpeg[:9]).decode() in str(value) for value in found.values())
    assert found[f"{contents}.{len(shown)}.message_content.type"] == "text"
    assert found[f"{contents}.{len(shown)}.message_content.text"] == "Is it so?"
    assert f"{contents}.{len(shown) + 1}.message_content.type" not in found
    assert all(isinstance(value, str | int | float) for value in found.values())


def test_a_trace_has_the_answer_and_its_cost() -> None:
    completion = Completion(
        text="A man.", finish="stop", prompt_tokens=900, completion_tokens=20, first_token_s=0.25, seconds=1.5
    )
    found = tracing.answer(completion)
    assert found["output.value"] == found["llm.output_messages.0.message.content"] == "A man."
    assert found["llm.output_messages.0.message.role"] == "assistant"
    tokens = [found[f"llm.token_count.{part}"] for part in ("prompt", "completion", "total")]
    assert tokens == [900, 20, 920]
    assert (found["llm.first_token_seconds"], found["llm.latency_seconds"]) == (0.25, 1.5)


def test_a_job_is_a_chain_of_requests() -> None:
    found = tracing.job("verify", "lobby", "i-17")
    assert found["openinference.span.kind"] == "CHAIN"
    assert json.loads(str(found["metadata"])) == {"kind": "verify", "camera": "lobby", "job": "i-17"}


# ---- settings


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, ["VLM_URL", "VLM_MODEL"]),
        ({"VLM_URL": "127.0.0.1:8000/v1"}, ["VLM_URL", "127.0.0.1:8000/v1", "http://"]),
        ({"VLM_URL": "ftp://host/v1"}, ["VLM_URL"]),
        ({"VLM_URL": "http:///v1"}, ["VLM_URL"]),
        ({"VLM_MODEL": "m", "VLLM_ARGS": "--quantization 'fp8"}, ["VLLM_ARGS", "'fp8"]),
        ({"VLM_MODE": "front", "VLLM_ARGS": "\\"}, ["VLLM_ARGS"]),
        ({"VLM_MODE": "front", "VLM_CAPTION_EVERY_S": "301"}, ["VLM_CAPTION_EVERY_S", "301", "VLM_CAPTION_CHUNK_S"]),
        (
            {"VLM_MODE": "front", "VLM_CAPTION_EVERY_S": "299", "VLM_CAPTION_OVERLAP_S": "2"},
            ["VLM_CAPTION_EVERY_S", "301"],
        ),
        ({"VLM_MODE": "back"}, ["VLM_MODE", "back"]),
        ({"VLM_MODEL": "m", "VLM_TEMPERATURE": "3"}, ["VLM_TEMPERATURE"]),
    ],
)
def test_an_unusable_setting_is_named(environ: dict[str, str], says: list[str]) -> None:
    with pytest.raises(SettingError) as e:
        load(VlmSettings, environ)
    for text in says:
        assert text in str(e.value)


@pytest.mark.parametrize("url", ["{}@host:8000/v1", "//{}@host/v1", "ftp://{}@host/v1", "http://{}@host:8000/v1"])
@pytest.mark.parametrize("secret", ["me:hunter2", ":hunter2", "hunter2", "me:hunter2@and/hunter2"])
def test_credentials_in_the_url_are_refused_and_not_shown(url: str, secret: str) -> None:
    with pytest.raises(SettingError, match="VLM_URL") as e:
        load(VlmSettings, {"VLM_URL": url.format(secret)})
    assert "hunter2" not in str(e.value)


@example("http://", "[::1")
@given(st.sampled_from(["", "http://", "https://", "//"]), st.text(st.characters(codec="utf-8")))
def test_any_text_is_a_url_or_is_refused_with_the_variable_s_name(scheme: str, rest: str) -> None:
    try:
        loaded = load(VlmSettings, {"VLM_URL": scheme + rest, "VLM_MODEL": "m"})
    except SettingError as e:
        assert "VLM_URL" in str(e)
    else:
        assert loaded.vlm_url == scheme + rest


def test_a_front_needs_no_model_and_captions_longer_intervals_by_chunks() -> None:
    longer = {"VLM_MODE": "front", "VLM_CAPTION_EVERY_S": "900", "VLM_CAPTION_CHUNK_S": "60"}
    assert load(VlmSettings, longer).vlm_caption_every_s == 900
    assert load(VlmSettings, {"VLM_MODE": "front", "VLM_CAPTION_OVERLAP_S": "600"}).vlm_caption_every_s == 0


def test_a_worker_with_its_own_vllm_runs_on_each_gpu() -> None:
    gpus = {"NUM_GPUS": "4", "VLM_MODEL": "m"}
    assert load(VlmSettings, gpus).replicas == 1
    assert load(VlmSettings, gpus | {"VLM_GPUS_AS": "replicas"}).replicas == 4
    assert load(VlmSettings, gpus | {"VLM_GPUS_AS": "replicas", "VLM_URL": "http://host/v1"}).replicas == 1


@given(st.integers(1, 1024), st.integers(1, 64))
def test_the_loop_has_enough_jobs_in_flight_for_its_slots(jobs: int, threads: int) -> None:
    environ = {"VLM_MODEL": "m", "VLM_BATCH_SIZE": str(jobs), "VLM_THREADS": str(threads), "REPLICA": "vlm-3"}
    worker = load(VlmSettings, environ | {"VLM_GRACE_S": "33"}).worker()
    assert (worker.batch_size, worker.batch_wait_s, worker.slots) == (1, 0, jobs)
    assert (worker.replica, worker.grace_s) == ("vlm-3", 33)
    # Each slot has one job while the next one is prepared.
    assert worker.slots + worker.threads <= worker.hold <= 4 * (jobs + threads)


# ---- the model's name


def test_a_model_is_named_by_its_hub_name_or_its_folder(tmp_path: Path) -> None:
    loaded = load(VlmSettings, {"VLM_MODEL": "m"})
    assert event_name(loaded, "Qwen/Qwen3-VL-2B-Instruct") == "Qwen-Qwen3-VL-2B-Instruct"
    assert event_name(loaded, "/models/my model") == "my-model"
    assert event_name(loaded, str(tmp_path)) == tmp_path.name
    trained = load(VlmSettings, {"VLM_MODEL": "m", "VLLM_ARGS": "--load-format safetensors"})
    assert event_name(trained, "m") == "m"


@pytest.mark.parametrize(
    "args",
    [
        "--load-format dummy",
        "--load-format=dummy",
        "--enforce-eager --load-format=dummy --seed 1",
        "--load-format  dummy",
        "--load-format 'dummy'",
    ],
)
def test_untrained_weights_are_reported_as_such(args: str) -> None:
    loaded = load(VlmSettings, {"VLM_MODEL": "a/b", "VLLM_ARGS": args})
    assert event_name(loaded, "a/b") == "a-b-untrained"


# ---- captions of the past


SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=20)


@given(SPANS, SPANS)
def test_live_captions_override_captions_of_recordings(
    past: list[tuple[int, int]], live: list[tuple[int, int]]
) -> None:
    def parts(spans: list[tuple[int, int]]) -> list[Part]:
        return [Part(start=at(n), end=at(n + length), text="x") for n, length in spans]

    free = [one for one in parts(past) if all(one.end <= two.start or one.start >= two.end for two in parts(live))]
    assert without(parts(past), parts(live)) == free
