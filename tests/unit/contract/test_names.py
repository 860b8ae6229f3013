"""Names of cameras, replicas and services: one pattern for every check."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.vlm.planning import query as asking
from services.vlm.settings import VlmSettings
from shared.contract import names, segment
from shared.contract.questions import search as finding
from shared.contract.work.jobs import Ask
from shared.runtime.errors import SettingError
from shared.runtime.settings import load

START = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)
SEGMENT = segment.Segment(
    camera="lobby", epoch="e", n=0, start=START, duration=1, codec="h264", width=64, height=64, frames=1
)


def _segment(camera: str) -> Any:
    return msgspec.convert(msgspec.to_builtins(SEGMENT) | {"camera": camera}, segment.Segment)


def _found(camera: str) -> Any:
    return msgspec.convert({"labels": ["person"], "cameras": [camera]}, finding.Query)


def _question(camera: str) -> Any:
    return asking.read(msgspec.json.encode({"kind": "ask", "camera": camera, "question": "what?"}))


def _job(camera: str) -> Any:
    return msgspec.convert({"camera": camera, "question": "what?", "start": START, "end": START}, Ask)


def _replica(settings: type[msgspec.Struct]) -> Callable[[str], Any]:
    return lambda name: load(settings, {"REPLICA": name, "VLM_MODE": "front"})


DOORS: dict[str, Callable[[str], Any]] = {
    "camera add": names.check_camera,
    "segment": _segment,
    "find": _found,
    "ask": _question,
    "job": _job,
    "replica of cv": _replica(CvSettings),
    "replica of embed": _replica(EmbedSettings),
    "replica of vlm": _replica(VlmSettings),
}
USABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")

near_misses = st.builds(
    lambda name, tail: name + tail,
    st.from_regex(USABLE, fullmatch=True),
    st.sampled_from(["", "\n", "\r\n", " ", ".", "*", ">", "\x00", "é", "/"]),
)


@pytest.mark.parametrize("door", DOORS)
@given(name=st.text(min_size=1, max_size=70) | near_misses)
@example(name="lobby\n")
@example(name="a" * 65)
def test_a_name_is_accepted_by_every_check_or_by_none(door: str, name: str) -> None:
    if USABLE.fullmatch(name):
        DOORS[door](name)
        return
    with pytest.raises((SettingError, msgspec.ValidationError, finding.Refusal)):
        DOORS[door](name)
