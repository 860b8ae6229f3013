"""What `svc.find` is asked and what it answers, and what the index finds. Pure.

{"text": "a man on a bicycle", "cameras": ["street"], "since": "2026-11-24T13:00:00Z", "k": 5}
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.bus.requests import Refusal
from shared.contract.events import Box
from shared.contract.names import Token

MAX_K = 100


class BadQuery(Refusal):
    """The query can't be answered as it is. The message says what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


class Unanswerable(Refusal):
    """The query is good, but can't be answered now. The message says what is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query gives one of `text`, `image` and `like`, or `labels` alone. Every other field narrows it down.

    image: a JPEG, PNG or WebP, base64 in JSON. like: `id` of a moment that was found before. since, until: times with a
    zone. labels: of objects that cv saw in the same segment. min_score: the least cosine, or the least score of a
    label. merge_s: hits of a camera that are at most so many seconds apart are one moment. picture: whether to give a
    JPEG of each moment's best frame, while its video is kept.
    """

    text: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    image: bytes | None = None
    like: Annotated[str, Meta(min_length=1, max_length=300)] | None = None
    cameras: Annotated[list[Token], Meta(max_length=1000)] = []
    since: Annotated[dt.datetime, Meta(tz=True)] | None = None
    until: Annotated[dt.datetime, Meta(tz=True)] | None = None
    labels: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=100)] = []
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    k: Annotated[int, Meta(ge=1, le=MAX_K)] = 10
    merge_s: Annotated[float, Meta(ge=0, le=3600)] = 3.0
    picture: bool = False

    def check(self) -> Query:
        """The query itself, checked for what types alone can't tell. Raises BadQuery."""
        given = [name for name in ("text", "image", "like") if getattr(self, name) is not None]
        if len(given) > 1:
            raise BadQuery(f"asks by {' and '.join(given)}: give one of text, image and like")
        if not given and not self.labels:
            raise BadQuery("asks for nothing: give one of text, image and like, or labels")
        if self.since and self.until and self.since >= self.until:
            raise BadQuery(f"since {self.since.isoformat()} is not before until {self.until.isoformat()}")
        return self


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of one camera's time in which something like what was asked for was seen.

    id: of its best vector, for `like`; None where labels alone found it. start, end: wall clock. time: of its best
    frame. seq: sequence in MEDIA of that frame's segment. similarity: cosine with what was asked. score: of the best
    detection of a label that was asked for. by: which rankings found it. hits: how many were merged. labels: seen in
    the segment of the best frame. kept: whether MEDIA still has that segment.
    """

    camera: Token
    start: dt.datetime
    end: dt.datetime
    time: dt.datetime
    seq: int
    id: str | None = None
    similarity: float | None = None
    score: float | None = None
    by: list[Literal["vectors", "labels"]]
    labels: list[str] = []
    box: Box | None = None
    hits: int = 1
    kept: bool = False
    picture: bytes | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Moments, the best first. model: whose vectors were compared, if any. pending: events not yet in the index.

    note: what the asker should know, such as that text was matched with labels alone.
    """

    moments: list[Moment]
    model: str | None = None
    pending: int = 0
    note: str | None = None


class ClipQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `svc.find.clip` is asked: the video of `camera` from `start` to `end`, around segment `seq` of MEDIA."""

    camera: Token
    seq: Annotated[int, Meta(ge=1)]
    start: Annotated[dt.datetime, Meta(tz=True)]
    end: Annotated[dt.datetime, Meta(tz=True)]


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One row that the index found. score: a vector's cosine, or a detection's score. id: a vector's, else None."""

    camera: str
    start: dt.datetime
    end: dt.datetime
    time: dt.datetime
    seq: int
    score: float
    id: str | None = None
    label: str | None = None
    box: Box | None = None
