"""Answers on `svc.find` and `svc.find.clip`.

A query becomes up to two rankings: one by vectors, after `embed` has encoded the query, and one by the labels that its
words name. Each is widened until it has the requested number of moments. Then they are fused into one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from nats.micro.service import Service

from services.search import clip, metrics
from services.search.clip import StoredSegment
from services.search.index import Index
from services.search.moments import fuse, merge
from services.search.rows import Hit, Where
from services.search.settings import SearchSettings
from services.search.words import named_labels
from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.contract import names, segment
from shared.contract.questions.search import MAX_VOCABULARY, BadQuery, ClipQuery, Found, Moment, Query, Unanswerable
from shared.contract.segment import Segment
from shared.models import vectors
from shared.models.vectors import Encoded, TextQuery, Vectors
from shared.runtime.errors import BadSegment, Refusal
from shared.runtime.telemetry import logger
from shared.video import main_stream
from shared.video.segments import SegmentDecoder

T = TypeVar("T")
Q = TypeVar("Q", Query, ClipQuery)
# Bytes of an answer reserved for everything but its pictures.
_ROOM = 256 * 1024


# If at most this many segments have a label, they are looked up first, and vectors are compared in those alone.
RARE_SEGMENTS = 2000


class QueryTuning(msgspec.Struct, frozen=True, kw_only=True):
    """How far a ranking is widened until it holds enough moments. The values were chosen by hand."""

    hits_a_moment: int = 8
    """The initial number of hits to fetch for each requested moment."""

    fewest_hits: int = 100
    """The lowest number of hits to fetch: fewer would cut short a moment of many hits."""

    wider: int = 4
    """If the hits gave too few moments, the next fetch is larger by this factor."""

    most_hits: int = 8192
    """The highest number of hits to fetch, of all labels combined: each takes some kilobytes until it is answered."""


TUNING = QueryTuning()


class _Side(msgspec.Struct, frozen=True):
    """One ranking of moments. note: why it is empty, if a client should know."""

    moments: list[Moment] = []
    model: str | None = None
    note: str | None = None


class Answers:
    """See the module. pending: how many events the index has not yet seen."""

    def __init__(self, client: Client, index: Index, settings: SearchSettings, pending: Callable[[], int]) -> None:
        self._client = client
        self._js = client.jetstream()
        self._index = index
        self._settings = settings
        self._pending = pending
        self._threads = ThreadPoolExecutor(settings.search_threads, thread_name_prefix="query")
        budget, device = settings.budget(), settings.decoding_device()
        self._segments = SegmentDecoder(
            self._js, threads=settings.search_threads, budget=budget, service="search", device=device
        )
        self._log = logger("search")

    async def start(self) -> Service:
        """Start answering. Returns the service, which the caller stops."""
        endpoints = {"find": (names.FIND, self._answer_find), "clip": (names.FIND_CLIP, self._answer_clip)}
        purpose = "finds moments by words, by a picture, or by what is like one found before"
        return await requests.serve(
            self._client, names.micro("search"), purpose, endpoints, parallel=self._settings.search_threads
        )

    async def _answer_find(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        started = time.perf_counter()
        try:
            query = _read(payload, Query).check()
            found = await self.find(query)
        except Refusal as e:
            metrics.REFUSALS.labels(e.code).inc()
            raise
        by = "text" if query.text else "image" if query.image else "like" if query.like else "labels"
        metrics.QUERY.labels(by).observe(time.perf_counter() - started)
        return msgspec.json.encode(found), {}

    async def find(self, query: Query) -> Found:
        """Return the moments that match a query. Raises Refusal."""
        vocabulary: list[str] | None = None
        if query.vocabulary:
            labels = await self._in_thread(lambda: self._index.known_labels(query.cameras))
            vocabulary = sorted(labels)[:MAX_VOCABULARY]
        if not query.asks:
            return Found(moments=[], pending=self._pending(), vocabulary=vocabulary)
        by_vectors = await self._by_vectors(query)
        by_labels = await self._by_labels(query)
        moments = fuse(by_vectors.moments, by_labels.moments, query.k)
        if by_vectors.note and by_labels.note:
            raise Unanswerable(f"{by_vectors.note}; and {by_labels.note}")
        return Found(
            moments=await self._complete(moments, pictures=query.picture),
            model=by_vectors.model,
            pending=self._pending(),
            note=f"matched by labels alone: {by_vectors.note}" if by_vectors.note else None,
            vocabulary=vocabulary,
        )

    # ---- by vectors

    async def _by_vectors(self, query: Query) -> _Side:
        if query.like is not None:
            found = await self._in_thread(lambda: self._index.vector(query.like or "", query.like_cameras))
            if found is None:
                raise BadQuery(f"nothing has the id {query.like!r}: give that of a moment found, while it is kept")
            model, vector = found
        elif query.image is not None:
            model, vector = await self._encode(names.EMBED_IMAGE, query.image)
        elif query.text is not None:
            try:
                text = msgspec.json.encode(TextQuery(text=query.text))
                model, vector = await self._encode(names.EMBED_TEXT, text)
            except Refusal as e:
                return _Side(note=str(e))
        else:
            return _Side()
        where = _where(query)
        if query.labels:
            # Labels of any run and score count.
            seen = msgspec.structs.replace(where, labels=query.labels, runs=(), min_score=None)
            rare = await self._in_thread(lambda: self._index.segments_with(seen, RARE_SEGMENTS))
            if rare is not None and not rare:
                return _Side(model=model)
            where = msgspec.structs.replace(where, seqs=sorted(rare or ()))

        def look(limit: int) -> tuple[list[Hit], bool]:
            hits = self._index.similar(model, vector, where, limit)
            full = len(hits) >= limit
            # The moment that the query is like is not a result.
            hits = [h for h in hits if h.id != query.like]
            return self._with_labels(hits, query.labels), full

        return _Side(await self._widen(look, query), model)

    async def _encode(self, subject: str, payload: bytes) -> tuple[str, Vectors]:
        try:
            answer = await requests.ask(self._client, subject, payload, timeout_s=self._settings.search_encode_s)
        except NobodyAnswers as e:
            raise Unanswerable(
                f"{e}: no embed process encodes queries; run one with EMBED_MODE=queries, or 'tidegate up --search'"
            ) from e
        encoded = requests.read(answer, Encoded)
        return encoded.model, vectors.unpack(encoded.vector, encoded.dimension)

    # ---- by labels

    async def _by_labels(self, query: Query) -> _Side:
        if query.image is not None or query.like is not None:
            return _Side()
        vocabulary = await self._in_thread(lambda: self._index.known_labels(query.cameras))
        if query.text:
            labels = await self._in_thread(lambda: named_labels(query.text or "", vocabulary))
        else:
            labels = list(query.labels)
        if not labels:
            some = ", ".join(sorted(vocabulary)[:20])
            return _Side(note=f"no label seen so far is in {query.text!r} (seen: {some or 'none'})")
        where = _where(query)
        most = max(TUNING.fewest_hits, TUNING.most_hits // len(labels))

        def look(limit: int) -> tuple[list[Hit], bool]:
            limit = min(limit, most)
            conditions = [msgspec.structs.replace(where, labels=[label]) for label in labels]
            hits = [self._index.labelled(condition, limit) for condition in conditions]
            found = [h for of_label in hits for h in of_label]
            if len(labels) > 1:
                found = self._merge_labels(found, labels)
            if query.text:
                found = self._with_labels(found, query.labels)
            return found, any(len(of_label) >= limit for of_label in hits)

        return _Side(await self._widen(look, query))

    def _merge_labels(self, hits: Sequence[Hit], labels: Sequence[str]) -> list[Hit]:
        """Return one hit for each segment, with the mean of the labels' scores: segments with all labels come first."""
        segments = {(h.camera, h.seq) for h in hits}
        best: dict[tuple[str, int, str], Hit] = {}
        for hit in self._index.labels_of((h.seq, h.time) for h in hits):
            key = (hit.camera, hit.seq, hit.label or "")
            is_match = (hit.camera, hit.seq) in segments and hit.label in labels
            if is_match and (key not in best or best[key].score < hit.score):
                best[key] = hit
        of_segment: dict[tuple[str, int], list[Hit]] = {}
        for (camera, seq, _), hit in best.items():
            of_segment.setdefault((camera, seq), []).append(hit)
        return [
            msgspec.structs.replace(max(of, key=lambda h: h.score), score=sum(h.score for h in of) / len(labels))
            for of in of_segment.values()
        ]

    def _with_labels(self, hits: list[Hit], labels: Sequence[str]) -> list[Hit]:
        """Return the hits in whose segment any of `labels` was seen; all hits if there are no labels."""
        if not labels:
            return hits
        seen = {(h.camera, h.seq) for h in self._index.labels_of((h.seq, h.time) for h in hits) if h.label in labels}
        return [h for h in hits if (h.camera, h.seq) in seen]

    # ---- both

    async def _widen(self, look: Callable[[int], tuple[list[Hit], bool]], query: Query) -> list[Moment]:
        """Return moments of the hits of `look(limit)`, raising the limit until there are enough, or all."""
        limit = max(TUNING.fewest_hits, TUNING.hits_a_moment * query.k)
        while True:
            hits, more = await self._in_thread(lambda limit=limit: look(limit))  # type: ignore[misc]
            moments = merge(hits, query.merge_s)
            if len(moments) >= query.k or not more or limit >= TUNING.most_hits:
                return moments
            limit = min(TUNING.wider * limit, TUNING.most_hits)

    async def _complete(self, moments: Sequence[Moment], *, pictures: bool) -> list[Moment]:
        """Add labels, whether the video exists, and pictures as long as the answer has room."""
        # A recreated MEDIA counts from the start: two cameras' segments may have one sequence.
        seen: dict[tuple[str, int], set[str]] = {}
        for hit in await self._in_thread(lambda: self._index.labels_of((m.seq, m.time) for m in moments)):
            seen.setdefault((hit.camera, hit.seq), set()).add(hit.label or "")
        stored_seqs = await self._stored_seqs()
        room = (self._client.max_payload - _ROOM) * 3 // 4
        out = []
        for moment in moments:
            is_stored = moment.seq in stored_seqs
            picture = await self._picture(moment) if pictures and is_stored and room > 0 else None
            if picture is not None and len(picture) > room:
                picture = None
            room -= len(picture or b"")
            labels = sorted(seen.get((moment.camera, moment.seq), ()))
            out.append(msgspec.structs.replace(moment, labels=labels, has_video=is_stored, picture=picture))
        return out

    async def _stored_seqs(self) -> range:
        """Return the sequences that MEDIA still has."""
        try:
            state = (await self._js.stream_info(names.MEDIA)).state
        except (TimeoutError, nats.errors.Error, NotFoundError) as e:
            self._log.warning("can't ask what MEDIA keeps", error=repr(e))
            return range(0)
        return range(state.first_seq, state.last_seq + 1)

    async def _picture(self, moment: Moment) -> bytes | None:
        try:
            raw = await self._js.get_msg(names.MEDIA, moment.seq, direct=True)
            head = segment.from_headers(raw.headers)
            if head.camera != moment.camera:
                # MEDIA was recreated and counts from the start: this is another segment.
                return None
            if larger := await self._larger_picture(moment, head):
                return larger
            offset = moment.time.timestamp() - head.start.timestamp()
            draw = partial(clip.picture, box=moment.box)
            return await self._segments.decode(head, raw.data or b"", draw, at=[offset], within=clip.WITHIN)
        except (BadSegment, NotFoundError, TimeoutError, nats.errors.Error) as e:
            self._log.debug("no picture", seq=moment.seq, error=repr(e))
            return None

    async def _larger_picture(self, moment: Moment, head: Segment) -> bytes | None:
        """Return the picture from the main stream; None if there is none, or if `head` has enough pixels.

        Raises nats.errors.Error or TimeoutError.
        """
        if head.width >= clip.WITHIN[0]:
            return None
        found = await main_stream.at(self._client, moment.camera, moment.time, in_place_of=head)
        if found is None:
            return None
        draw, at = partial(clip.picture, box=moment.box), [found.offset(moment.time)]
        try:
            return await self._segments.decode(found.segment, found.payload, draw, main=True, at=at, within=clip.WITHIN)
        except BadSegment as e:
            self._log.debug("no picture of the main stream", seq=found.seq, error=repr(e))
            return None

    async def _collect(self, query: ClipQuery, most: int) -> list[StoredSegment]:
        """Return the segments of a clip: of the main stream if that has all that the substream has. Raises as `collect`
        does.
        """
        wanted = query.start, query.end
        stored = await clip.collect(self._js, query.camera, query.seq, *wanted, max_bytes=most)
        around = next(one for one in stored if one.seq == query.seq).segment
        instant = around.start + dt.timedelta(seconds=around.duration / 2)
        try:
            if found := await main_stream.at(self._client, query.camera, instant, in_place_of=around):
                larger = await clip.collect(self._js, query.camera, found.seq, *wanted, max_bytes=most)
                if clip.covers_as_much(larger, stored, *wanted):
                    return larger
        except Unanswerable as e:
            self._log.debug("no clip of the main stream", camera=query.camera, reason=str(e))
        return stored

    async def _answer_clip(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        query = _read(payload, ClipQuery)
        most = self._client.max_payload - _ROOM
        try:
            stored = await self._collect(query, most)
            joined = await self._in_thread(lambda: clip.join(stored))
        except (BadSegment, TimeoutError, nats.errors.Error) as e:
            raise Unanswerable(f"the clip can't be made: {e!r}") from e
        covers = {"Clip-Start": segment.rfc3339(joined.start), "Clip-End": segment.rfc3339(joined.end)}
        return joined.data, covers | {"content-type": "video/mp4"}

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _read(payload: bytes, kind: type[Q]) -> Q:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadQuery(f"the query can't be read: {e}") from e


def _where(query: Query) -> Where:
    def ms(time: object) -> int | None:
        return None if time is None else round(time.timestamp() * 1000)  # type: ignore[attr-defined]

    return Where(
        cameras=query.cameras,
        since=ms(query.since),
        until=ms(query.until),
        runs=[query.run] if query.run else (),
        min_score=query.min_score,
    )
