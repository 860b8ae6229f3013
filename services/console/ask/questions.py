"""The API's questions and answers. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from services.console.web.alike import alike
from services.console.web.refused import Refused
from shared.contract.events import Answer, Part, Summary
from shared.contract.names import Token
from shared.contract.reading.bounds import Instant, in_time
from shared.contract.segment import rfc3339

MOST_CAMERAS = 16
MOST_FRAMES = 100
MOST_PARTS = 500


class _VideoRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """cameras: one question for each. since, until: times with a zone; by default the last minute. wait_s: seconds to
    wait for an answer; no worker starts on it later.
    """

    cameras: Annotated[list[Token], Meta(min_length=1, max_length=MOST_CAMERAS)]
    since: Instant | None = None
    until: Instant | None = None
    wait_s: Annotated[float, Meta(ge=1, le=600)] = 120.0

    def check(self) -> None:
        """Raises Refused."""
        if len(set(self.cameras)) < len(self.cameras):
            raise Refused(400, "a camera is named twice: name each once")
        for time in filter(None, (self.since, self.until)):
            if not in_time(time):
                raise Refused(400, f"{time.isoformat()} is no time of video")
        if self.since and self.since >= (self.until or dt.datetime.now(dt.UTC)):
            raise Refused(400, "since is not before until: give an earlier since")

    def of(self, camera: str) -> dict[str, Any]:
        """The request to `svc.ask` for one camera."""
        times = {name: rfc3339(at) for name in ("since", "until") if (at := getattr(self, name))}
        return {"camera": camera, "wait_s": self.wait_s, **times}


class Question(_VideoRequest, frozen=True, kw_only=True):
    """A question about what cameras see."""

    question: Annotated[str, Meta(min_length=1, max_length=4000)]

    def of(self, camera: str) -> dict[str, Any]:
        return {"kind": "ask", "question": self.question, **super().of(camera)}


class SummaryWanted(_VideoRequest, frozen=True, kw_only=True):
    """A summary of what cameras saw. prompt: its subject; empty: all that matters."""

    prompt: Annotated[str, Meta(max_length=4000)] = ""

    def of(self, camera: str) -> dict[str, Any]:
        return {"kind": "summarize", "prompt": self.prompt, **super().of(camera)}


class ShownFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that the model received. picture: its path below the API. used: whether the answer relies on it."""

    time: dt.datetime
    picture: str
    used: bool


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer or a summary of one camera.

    start, end: of the video that it is about. reason: why there is no text, if there is none. used: times of the frames
    that the model claims to rely on. frames: those that the model received. captions: how many captions a summary was
    made from. parts: what happened in each part of it.
    """

    kind: Literal["answer", "summary"]
    job: str
    camera: Token
    question: str = ""
    text: str
    reason: str = ""
    model: str
    start: dt.datetime
    end: dt.datetime
    used: list[dt.datetime] = []
    frames: list[ShownFrame] = []
    captions: int | None = None
    parts: list[Part] = []


def model_answer(event: Answer | Summary) -> ModelAnswer:
    """Return the API's answer for an event."""
    used = event.used if isinstance(event, Answer) else []
    reason = event.reason if event.cause else ""
    frames = [
        ShownFrame(time=frame.time, picture=_picture(event.camera, frame.time), used=frame.time in used)
        for frame in event.frames[:MOST_FRAMES]
    ]
    common: dict[str, Any] = {"reason": reason, "used": list(used), "frames": frames}
    if isinstance(event, Answer):
        return alike(ModelAnswer, event, kind="answer", **common, captions=None, parts=[])
    return alike(ModelAnswer, event, kind="summary", **common, question="", parts=event.parts[:MOST_PARTS])


def _picture(camera: str, time: dt.datetime) -> str:
    return f"cameras/{quote(camera, safe='')}/picture?{urlencode({'at': rfc3339(time)})}"
