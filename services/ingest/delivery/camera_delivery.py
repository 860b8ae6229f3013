"""Publishes the segments of a stream in order, one in flight, and gives dependent ones the `Key-Seq` that they need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.ingest import metrics
from services.ingest.cutting.piece import Piece
from services.ingest.delivery.outbox import Outbox, Outboxes
from services.ingest.delivery.publisher import Publisher
from services.ingest.streams import Stream

# The cause of dropping a segment that another process has read, too: nothing is lost.
HANDED_OVER = "handed_over"
# Two connections to a camera date the same frame at most this far apart.
APART_S = 0.2


class _Begins:
    """Sequences of the stored segments that decoding may begin with, while all their successors are stored."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}
        self._next = ("", 0)  # epoch and counter of the segment that follows the last

    def of(self, piece: Piece) -> int | None:
        """Return the sequence where decoding of `piece` begins; None if at itself, or if that is not stored."""
        if (piece.segment.epoch, piece.segment.n) != self._next:
            self._seqs.clear()
        if piece.base in self._seqs:
            return self._seqs[piece.base]
        return self._seqs.get(piece.gop) if piece.dependent else None

    def record(self, piece: Piece, seq: int) -> None:
        """Remember `piece` if decoding may begin with it, and forget everything before its own beginning."""
        self._next = (piece.segment.epoch, piece.segment.n + 1)
        if not piece.dependent:
            begin = self._seqs.get(piece.base, seq)
            self._seqs = {id: at for id, at in self._seqs.items() if at >= begin}
            self._seqs[piece.gop] = seq


class CameraDelivery:
    """Takes segments by `put`; `run` publishes them.

    outboxes: all of the process. max_bytes: of segments that wait here. allowed: checked before each try to publish.
    on_done: called for each segment that was stored or dropped.
    """

    def __init__(
        self,
        camera: str,
        publisher: Publisher,
        outboxes: Outboxes,
        max_bytes: int,
        allowed: Callable[[], bool],
        on_done: Callable[[], None],
        stream: Stream = Stream.MEDIA,
    ) -> None:
        self._labels = camera, stream.value
        self._publisher = publisher
        self._outbox = Outbox(outboxes, max_bytes, self._drop)
        self._begins = _Begins()
        self._allowed = allowed
        self._on_done = on_done
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._segments = metrics.SEGMENTS.labels(*self._labels)
        self._bytes = metrics.BYTES.labels(*self._labels)
        self._frames = metrics.FRAMES.labels(*self._labels)

    @property
    def pending_bytes(self) -> int:
        """Bytes that are not stored yet."""
        return self._outbox.total_bytes

    def put(self, piece: Piece) -> None:
        """Queue a segment for publishing. If there is no room, the oldest GOPs are dropped for it."""
        self._outbox.put(piece)
        if len(self._outbox):
            self._emptied.clear()
            self._filled.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            piece = self._outbox.take()
            if piece is None:
                self._filled.clear()
                self._emptied.set()
                await self._filled.wait()
                continue
            key_seq = self._begins.of(piece)
            if piece.dependent and key_seq is None:
                # The beginning of its GOP was dropped after this one was queued.
                self._lose(piece, "key_lost")
                continue
            seq = await self._publisher.send(piece, key_seq, lambda: self._allowed())
            if seq is None:
                self._lose(piece, "oversize")
                continue
            self._begins.record(piece, seq)
            self._segments.inc()
            self._bytes.inc(piece.size)
            self._frames.inc(piece.segment.frames)
            self._on_done()

    async def flush(self) -> None:
        """Wait until every segment is stored or dropped."""
        await self._emptied.wait()

    def hand_over(self, until: float | None, cause: str) -> bool:
        """Keep what was filmed while this process had the camera, until `until` in Unix seconds; drop the rest.

        None drops nothing. Returns whether anything is left to publish.
        """

        def ours(piece: Piece) -> bool:
            start = piece.segment.start.timestamp()
            return until is None or start + min(APART_S, piece.segment.duration / 2) < until

        is_ours = self._outbox.keep(ours, cause)
        self._allowed = lambda: is_ours
        return is_ours

    def give_up(self, cause: str) -> int:
        """Drop what is left, and return how many segments that were. Call it once `run` has ended."""
        return self._outbox.clear(cause)

    def _lose(self, piece: Piece, cause: str) -> None:
        """Drop the segment in flight, and what can't be decoded without it."""
        self._drop([piece], cause)
        self._outbox.drop_gop(piece.gop, cause)

    def _drop(self, pieces: list[Piece], cause: str) -> None:
        for _ in pieces:
            if cause != HANDED_OVER:
                metrics.DROPPED.labels(*self._labels, cause).inc()
            self._on_done()
