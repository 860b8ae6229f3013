"""The queries and answers of `svc.find` and `svc.find.clip`. Pure.

Example:
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
# The maximum number of labels in an answer.
MAX_VOCABULARY = 1000


class BadQuery(Refusal):
    """The query is invalid. The message says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason)


class Unanswerable(Refusal):
    """The query is valid, but can't be answered now. The message names the missing part."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query gives one of `text`, `image` and `like`, or `labels` or `vocabulary` alone. Every other field is a
    filter.

    image: a JPEG, PNG or WebP, base64 in JSON. like: `id` of an earlier result. like_cameras: that result must be of
    one of these; empty: any. cameras: all but `pending` depends on these alone; empty: on every camera. since, until:
    times with a zone. labels: of objects that cv detected in the same segment. run: of `tidegate reanalyze`, which
    found it in a recording. min_score: the minimum cosine, or the minimum score of a label. merge_s: hits of a camera
    at most this many seconds apart are one moment. picture: whether to return a JPEG of each moment's best frame, while
    its video exists. vocabulary: whether to return the labels seen at these cameras.
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
        """Return whether it asks for moments."""
        return any(value is not None for value in (self.text, self.image, self.like)) or bool(self.labels)

    def check(self) -> Query:
        """Return the query itself, after checks beyond its types. Raises BadQuery."""
        modes = [name for name in ("text", "image", "like") if getattr(self, name) is not None]
        if len(modes) > 1:
            raise BadQuery(f"asks by {' and '.join(modes)}: give one of text, image and like")
        if not self.asks and not self.vocabulary:
            raise BadQuery("asks for nothing: give one of text, image and like, or labels")
        if self.like_cameras and self.like is None:
            raise BadQuery("like_cameras says of which cameras the moment `like` is: give like")
        if self.since and self.until and self.since >= self.until:
            raise BadQuery(f"since {self.since.isoformat()} is not before until {self.until.isoformat()}")
        return self


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of one camera's time that matches the query.

    id: of its best vector, for `like`; None if labels alone found it. start, end: wall clock. time: of its best frame.
    seq: sequence in MEDIA of that frame's segment. similarity: cosine with the query. score: of the best detection of a
    queried label. by: the rankings that found it. hits: number of merged hits. labels: seen in the segment of the best
    frame. has_video: whether MEDIA still has that segment. run: of `tidegate reanalyze`, which found the best frame in
    a recording; None for a live result.
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
    has_video: bool = msgspec.field(default=False, name="kept")
    picture: bytes | None = None
    run: str | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Moments, the best first. model: of the compared vectors, if any. pending: events of all cameras that are not yet
    in the index. note: a hint for the client, such as that text matched labels alone. vocabulary: the labels seen,
    sorted, if queried.
    """

    moments: list[Moment]
    model: str | None = None
    pending: int = 0
    note: str | None = None
    vocabulary: list[str] | None = None


class ClipQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of `svc.find.clip`: the video of `camera` from `start` to `end`, around segment `seq` of MEDIA."""

    camera: Token
    seq: Annotated[int, Meta(ge=1)]
    start: Annotated[dt.datetime, Meta(tz=True)]
    end: Annotated[dt.datetime, Meta(tz=True)]
