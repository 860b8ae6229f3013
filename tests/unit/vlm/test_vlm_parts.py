"""Frames of an interval, traces, settings and names of models."""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.vlm.endpoints import prompt, tracing
from services.vlm.endpoints.model import event_name
from services.vlm.endpoints.openai import Completion
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames import sampling
from services.vlm.frames.jpeg import JpegFrame
from services.vlm.kinds.verify import VerdictAnswer
from services.vlm.settings import VlmSettings
from shared.runtime.errors import SettingError
from shared.runtime.settings import load
from tests.support.worlds.vlm_segments import MICROSECOND, at, frames, medias, starts


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
