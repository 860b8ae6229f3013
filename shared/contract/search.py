"""What `svc.find` and `svc.find.clip` are asked, and what they answer. Pure.

{"text": "a man on a bicycle", "cameras": ["street"], "since": "2026-11-24T13:00:00Z", "k": 5}
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract.events import Box
from shared.contract.names import Token
from shared.runtime.errors import Refusal

MAX_K = 100
MAX_CAMERAS = 1000
MAX_LIKE_CAMERAS = 10_000
# An answer says so many labels at most.
MAX_VOCABULARY = 1000


class BadQuery(Refusal):
    """The query can't be answered as it is. The message says what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


class Unanswerable(Refusal):
    """The query is good, but can't be answered now. The message says what is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query gives one of `text`, `image` and `like`, or `labels` or `vocabulary` alone. Every other field narrows it
    down.

    image: a JPEG, PNG or WebP, base64 in JSON. like: `id` of a moment that was found before. like_cameras: that moment
    is of one of these, or there is none; empty: of any. cameras: all but `pending` depends on these alone; empty: on
    every camera. since, until: times with a zone. labels: of objects that cv saw in the same segment. run: of `tidegate
    reanalyze`, that found it in a recording. min_score: the least cosine, or the least score of a label. merge_s: hits
    of a camera that are at most so many seconds apart are one moment. picture: whether to give a JPEG of each moment's
    best frame, while its video is kept. vocabulary: whether to say which labels were seen at these cameras.
    """

    text: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    image: bytes | None = None
    like: Annotated[str, Meta(min_length=1, max_length=300)] | None = None
    like_cameras: Annotated[list[Token], Meta(max_length=MAX_LIKE_CAMERAS)] = []
    cameras: Annotated[list[Token], Meta(max_length=MAX_CAMERAS)] = []
    since: Annotated[dt.datetime, Meta(tz=True)] | None = None
    until: Annotated[dt.datetime, Meta(tz=True)] | None = None
    labels: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=100)] = []
    run: Token | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    k: Annotated[int, Meta(ge=1, le=MAX_K)] = 10
    merge_s: Annotated[float, Meta(ge=0, le=3600)] = 3.0
    picture: bool = False
    vocabulary: bool = False

    @property
    def asks(self) -> bool:
        """Whether it asks for moments."""
        return any(given is not None for given in (self.text, self.image, self.like)) or bool(self.labels)

    def check(self) -> Query:
        """The query itself, checked for what types alone can't tell. Raises BadQuery."""
        given = [name for name in ("text", "image", "like") if getattr(self, name) is not None]
        if len(given) > 1:
            raise BadQuery(f"asks by {' and '.join(given)}: give one of text, image and like")
        if not self.asks and not self.vocabulary:
            raise BadQuery("asks for nothing: give one of text, image and like, or labels")
        if self.like_cameras and self.like is None:
            raise BadQuery("like_cameras says of which cameras the moment `like` is: give like")
        if self.since and self.until and self.since >= self.until:
            raise BadQuery(f"since {self.since.isoformat()} is not before until {self.until.isoformat()}")
        return self


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of one camera's time in which something like what was asked for was seen.

    id: of its best vector, for `like`; None where labels alone found it. start, end: wall clock. time: of its best
    frame. seq: sequence in MEDIA of that frame's segment. similarity: cosine with what was asked. score: of the best
    detection of a label that was asked for. by: which rankings found it. hits: how many were merged. labels: seen in
    the segment of the best frame. kept: whether MEDIA still has that segment. run: of `tidegate reanalyze`, which found
    the best frame in a recording; None where it was seen live.
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
    run: str | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Moments, the best first. model: whose vectors were compared, if any. pending: events of all cameras that are
    not yet in the index. note: what the asker should know, such as that text was matched with labels alone. vocabulary:
    the labels that were seen, sorted, where it was asked for them.
    """

    moments: list[Moment]
    model: str | None = None
    pending: int = 0
    note: str | None = None
    vocabulary: list[str] | None = None


class ClipQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `svc.find.clip` is asked: the video of `camera` from `start` to `end`, around segment `seq` of MEDIA."""

    camera: Token
    seq: Annotated[int, Meta(ge=1)]
    start: Annotated[dt.datetime, Meta(tz=True)]
    end: Annotated[dt.datetime, Meta(tz=True)]
