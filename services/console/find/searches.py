"""The API's searches and their answers. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from services.console.web.alike import alike
from shared.contract.events import Box
from shared.contract.names import Token
from shared.contract.questions.search import MAX_K, BadQuery, Moment, Query
from shared.contract.reading.bounds import Instant, in_time

MOST_IMAGE_BYTES = 8 * 2**20
_YEAR_S = 366 * 86_400.0
LONGEST_LABEL = 100
# Fields that a query takes unchanged.
FIELDS = ("text", "like", "labels", "run", "k", "min_score")


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A search by `text`, by `like`, or by `labels` alone; the other fields narrow it down.

    like: `id` of an earlier answer's moment. cameras: none: all that you may see. labels: of objects in the same
    segment. since, until: times with a zone. last_s: the last `last_s` seconds, in place of since. run: of `tidegate
    reanalyze`. k: how many moments. min_score: the least similarity, or the least score of a label.
    """

    text: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    like: Annotated[str, Meta(min_length=1, max_length=300)] | None = None
    cameras: Annotated[list[Token], Meta(max_length=1000)] = []
    labels: Annotated[list[Annotated[str, Meta(min_length=1, max_length=LONGEST_LABEL)]], Meta(max_length=100)] = []
    since: Instant | None = None
    until: Instant | None = None
    last_s: Annotated[float, Meta(gt=0, le=_YEAR_S)] | None = None
    run: Token | None = None
    k: Annotated[int, Meta(ge=1, le=MAX_K)] = 24
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None

    def query(self, now: dt.datetime) -> Query:
        """Return the query to the search service, without cameras. Raises BadQuery."""
        if self.last_s is not None and self.since is not None:
            raise BadQuery("gives since and last_s: give one of them")
        for time in filter(None, (self.since, self.until)):
            if not in_time(time):
                raise BadQuery(f"{time.isoformat()} is no time of video")
        since = self.since if self.last_s is None else now - dt.timedelta(seconds=self.last_s)
        fields: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
        return Query(**fields, image=self.picture, since=since, until=self.until, picture=True).check()

    @property
    def picture(self) -> bytes | None:
        return None


class MomentsWanted(Search, frozen=True, kw_only=True, omit_defaults=True):
    """A search by words, by a picture, by likeness to a moment, or by labels.

    image: a JPEG, PNG, WebP or BMP in base64, at most 8 MB, in place of text and like.
    """

    image: Annotated[bytes, Meta(max_length=MOST_IMAGE_BYTES)] | None = None

    @property
    def picture(self) -> bytes | None:
        return self.image


class FoundMoment(msgspec.Struct, frozen=True, kw_only=True):
    """A time range of one camera that matches the search.

    id: for `like`; null if labels alone found it. start, end: its video. time: of its best frame. similarity: cosine
    with the query, comparable within one answer. score: of the best label of the query. by: the rankings that found it.
    labels: seen in the best segment. box: of the object, as shares of the frame. hits: how many were merged. kept:
    whether there still is video. picture: JPEG in base64. run: of `tidegate reanalyze`, if it is from a recording.
    """

    camera: Token
    start: dt.datetime
    end: dt.datetime
    time: dt.datetime
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


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """Moments, best first. model: whose vectors were compared, if any. pending: events not yet indexed; null for a user
    who may not see all cameras. note: a remark, such as that text was matched with labels alone.
    """

    moments: list[FoundMoment]
    model: str | None = None
    pending: int | None = None
    note: str | None = None


def found_moment(moment: Moment, *, has_video: bool) -> FoundMoment:
    """Return the API's moment."""
    return alike(FoundMoment, moment, has_video=has_video)


def merge_answers(answers: Sequence[Sequence[Moment]], k: int) -> list[Moment]:
    """Return the `k` best moments of the answers to one query, each about other cameras.

    Similarities are comparable, and so are scores. Across the two kinds ranks are compared, as in the search service.
    """
    moments = [moment for answer in answers for moment in answer]
    if len(answers) < 2:
        return moments[:k]
    worth: dict[int, float] = dict.fromkeys(range(len(moments)), 0.0)
    for field in ("similarity", "score"):
        found = [n for n, moment in enumerate(moments) if getattr(moment, field) is not None]
        for rank, n in enumerate(sorted(found, key=lambda n: -getattr(moments[n], field)), 1):
            worth[n] += 1 / (_RANK_OFFSET + rank)
    return [moments[n] for n in sorted(worth, key=lambda n: (-worth[n], n))[:k]]


# Of reciprocal rank fusion: services/search/moments.py names its source.
_RANK_OFFSET = 60
