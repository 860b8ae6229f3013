"""Prompts and answers: frames with their times, schemas, and text without control characters."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from base64 import b64decode
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.vlm.endpoints import prompt
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames.jpeg import JpegFrame
from services.vlm.kinds.ask import QuestionAnswer
from services.vlm.kinds.verify import VerdictAnswer
from services.vlm.planning.stretches import CaptionPlan, begun_by
from tests.support.schemas import Validator
from tests.support.worlds.vlm_segments import T0, frames, milliseconds, segment


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
