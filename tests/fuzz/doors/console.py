"""The doors of the console: written rules, searches, questions, a child's answer on a camera, video."""

from __future__ import annotations

import datetime as dt
import re
from typing import TypeVar

import msgspec
import yaml

from services.console.ask.questions import Question, SummaryWanted
from services.console.cameras import rule_document
from services.console.cameras.rule_document import DrawnRules
from services.console.find import searches
from services.console.site import document
from services.console.video.viewer import MOST_CAMERAS, Viewer
from services.console.web.refused import Refused
from shared.contract import names
from shared.contract.questions import look
from shared.contract.reading.mistakes import Mistakes
from shared.runtime.errors import TidegateError
from shared.video.decoding import child, work
from shared.video.decoding.work import PictureRequest
from tests.fuzz import good, spoil
from tests.fuzz.door import MB, Door, wait
from tests.support.worlds.analytics_partition import RULES

T = TypeVar("T", bound=msgspec.Struct)
_NOW = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
_SEEN = look.Seen(codec="h264", width=640, height=360, fps=25, jpeg=b"\xff\xd8\xff")
_SITE = b"""\
defaults: {fps: 5}
cameras:
  lobby: {url: "rtsp://10.0.0.7/main", detect: /sub, user: viewer, password: "${LOBBY_PASSWORD}"}
  yard:
    {url: "rtsp://10.0.0.8/a", rules: {zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}}, recording: {keep_days: 3}}
groups: {outside: {cameras: [yard]}}
"""
_UNSEEN = look.Unseen(cause="refused", reason="nothing listens")


def _written(data: bytes) -> None:
    _preview(rule_document.of_text(data.decode(errors="replace")))


def _drawn(data: bytes) -> None:
    try:
        value = msgspec.json.decode(data, type=dict)
    except (ValueError, RecursionError):
        return  # The request is refused before that.
    _preview(rule_document.of_value(value))


def _stored(data: bytes) -> None:
    _preview(rule_document.of_stored(data))


def _preview(found: DrawnRules) -> None:
    """All of it goes to a browser. What is right is so again once it was written."""
    msgspec.json.encode(found)
    lines = found.text.count("\n") + 1
    assert all(m.line is None or 1 <= m.line <= lines + 1 for m in found.mistakes)
    if found.rules is not None:
        text = rule_document.written(msgspec.to_builtins(found.rules))
        assert rule_document.of_text(text).rules == found.rules


def _site(data: bytes) -> None:
    """All of a refusal goes to a browser, with lines of the text that it shows."""
    text = data.decode(errors="replace")
    try:
        wanted = document.read(text)
    except Mistakes as refused:
        lines = len(re.findall(r"\r\n?|\n", text)) + 1
        msgspec.json.encode([(mistake.path, mistake.text) for mistake in refused.all])
        if isinstance(refused, document.Unreadable):
            assert refused.line is None or 1 <= refused.line <= lines
        raise
    assert not wanted.site.readers
    msgspec.json.encode(wanted.site)


class _Nothing:
    """Live video without cameras."""

    def watch(self, camera: str, viewer: Viewer) -> None:
        assert re.fullmatch(names.TOKEN, camera)

    unwatch = watch


async def _unsent(message: bytes | str) -> None:
    raise AssertionError("nothing is sent before the viewer runs")


def _watched(data: bytes) -> None:
    """What a browser says. It is answered, whatever it is."""
    viewer = Viewer(_unsent, _Nothing(), lambda camera: len(camera) % 2 == 0)
    for message in (data, data.decode(errors="replace")):
        wait(viewer.hear(message))
    assert len(viewer._notices) <= MOST_CAMERAS + 1 and len(viewer._cameras) <= MOST_CAMERAS


def _pictured(data: bytes) -> None:
    """Answer a request as a child does: with a picture, or with a sentence."""
    built = child.answer(
        PictureRequest(tag=1, payload=data, offset=0.5, frames=10, width=64, boxes=((0.1, 0.1, 0.5, 0.5),))
    )
    assert bool(built.jpeg) != bool(built.error)
    assert work.decode_answer(work.with_length(built)[work.LENGTH :]) == built


def _searched(data: bytes) -> None:
    msgspec.json.encode(_body(data, searches.MomentsWanted).query(_NOW))


def _question(data: bytes) -> None:
    request = _body(data, Question if b'"question"' in data else SummaryWanted)
    request.check()
    msgspec.json.encode(request.of("lobby"))


def _body(data: bytes, kind: type[T]) -> T:
    """As the framework reads it, which refuses what is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refused(400, str(e)) from e


DOORS = (
    Door(
        "console.find",
        lambda: good.as_json(
            {"text": "a van", "cameras": ["lobby"], "labels": ["truck"], "last_s": 60, "k": 5, "min_score": 0.5},
            {"image": "/9j/", "since": good.SINCE, "until": good.UNTIL},
            {"like": "embed/1#0"},
        ),
        _searched,
        (TidegateError,),
        spoil.as_json,
    ),
    Door(
        "console.ask",
        lambda: good.as_json(
            {"cameras": ["lobby"], "since": good.SINCE, "until": good.UNTIL, "question": "who?"},
            {"cameras": ["lobby", "yard"], "prompt": "vans", "wait_s": 60},
        ),
        _question,
        (TidegateError,),
        spoil.as_json,
    ),
    Door(
        "console.watch", lambda: good.as_json({"watch": ["lobby", "yard"]}, {"watch": []}), _watched, (), spoil.as_json
    ),
    Door("console.picture", good.payloads, _pictured, (), spoil.as_mp4, share=0.1, most_bytes=1024 * MB),
    Door(
        "console.rules-written",
        lambda: [rule_document.written(RULES).encode(), msgspec.yaml.encode(RULES)],
        _written,
        share=0.3,
    ),
    Door("console.rules-drawn", lambda: [msgspec.json.encode(RULES)], _drawn, (), spoil.as_json, share=0.3),
    Door("console.rules-stored", lambda: [msgspec.json.encode(RULES)], _stored, (), spoil.as_json, share=0.3),
    Door("console.site-yaml", lambda: [_SITE], _site, (Mistakes,), spoil.lines, share=0.3),
    Door(
        "console.site-json", lambda: good.as_json(yaml.safe_load(_SITE)), _site, (Mistakes,), spoil.as_json, share=0.3
    ),
    Door(
        "console.look",
        lambda: [msgspec.json.encode(_SEEN), msgspec.json.encode(_UNSEEN)],
        look.decode,
        (TidegateError,),
        spoil.as_json,
        share=0.1,
    ),
)
