"""Publishes one camera's segments in order, one in flight, and gives dependent ones the `Key-Seq` that they need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.ingest import metrics
from services.ingest.outbox import Outbox, Outboxes
from services.ingest.publisher import Publisher
from services.ingest.segmenter import Piece

# Why a segment is dropped that another process has filmed, too: nothing is lost.
HANDED_OVER = "handed_over"
# Two connections to a camera put the same frame on the wall clock so far apart at most.
APART_S = 0.2


class _Begins:
    """Sequences of the stored segments that decoding may begin with, as long as all that follow them are stored."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}
        self._next = ("", 0)  # epoch and counter of the segment that follows the last

    def of(self, piece: Piece) -> int | None:
        """Where the decoding of `piece` begins; None if with itself, or if that is not stored."""
        if (piece.segment.epoch, piece.segment.n) != self._next:
            self._seqs.clear()
        if piece.base in self._seqs:
            return self._seqs[piece.base]
        return self._seqs.get(piece.gop) if piece.dependent else None

    def stored(self, piece: Piece, seq: int) -> None:
        """Remember `piece` where decoding may begin with it, and no longer what is before its own beginning."""
        self._next = (piece.segment.epoch, piece.segment.n + 1)
        if not piece.dependent:
            begin = self._seqs.get(piece.base, seq)
            self._seqs = {id: at for id, at in self._seqs.items() if at >= begin}
            self._seqs[piece.gop] = seq


class Delivery:
    """Takes segments by `put`; `run` publishes them.

    outboxes: all of the process. max_bytes: of segments that wait here. allowed: asked before each try to publish.
    left: called for each segment that was stored or dropped.
    """

    def __init__(
        self,
        camera: str,
        publisher: Publisher,
        outboxes: Outboxes[Piece],
        max_bytes: int,
        allowed: Callable[[], bool],
        left: Callable[[], None],
    ) -> None:
        self._camera = camera
        self._publisher = publisher
        self._outbox = Outbox(outboxes, max_bytes, self._drop)
        self._begins = _Begins()
        self._allowed = allowed
        self._left = left
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._segments = metrics.SEGMENTS.labels(camera)
        self._bytes = metrics.BYTES.labels(camera)
        self._frames = metrics.FRAMES.labels(camera)

    @property
    def held(self) -> int:
        """Bytes that are not stored yet."""
        return self._outbox.held

    def put(self, piece: Piece) -> None:
        """Publish a segment later. Where there is no room, the oldest GOPs are dropped for it."""
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
                # The beginning of its GOP was dropped after this one had been put.
                self._lose(piece, "key_lost")
                continue
            seq = await self._publisher.send(piece, key_seq, lambda: self._allowed())
            if seq is None:
                self._lose(piece, "oversize")
                continue
            self._begins.stored(piece, seq)
            self._segments.inc()
            self._bytes.inc(piece.size)
            self._frames.inc(piece.segment.frames)
            self._left()

    async def flushed(self, timeout_s: float) -> bool:
        """Wait until all has been stored or dropped; False if that takes longer than the time."""
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def hand_over(self, until: float, cause: str) -> bool:
        """Publish what was filmed while the camera was ours, until `until` in Unix seconds, and drop what begins later;
        with infinity nothing. Whether there is anything to be published.
        """

        def ours(piece: Piece) -> bool:
            return piece.segment.start.timestamp() + min(APART_S, piece.segment.duration / 2) < until

        is_ours = self._outbox.keep(ours, cause)
        self._allowed = lambda: is_ours
        return is_ours

    def give_up(self, cause: str) -> int:
        """Count what is left as dropped; how many segments. Call it once `run` has ended."""
        return self._outbox.clear(cause)

    def _lose(self, piece: Piece, cause: str) -> None:
        """Drop a segment that was taken out, and what can't be decoded without it."""
        self._drop([piece], cause)
        self._outbox.drop_gop(piece.gop, cause)

    def _drop(self, pieces: list[Piece], cause: str) -> None:
        for _ in pieces:
            if cause != HANDED_OVER:
                metrics.DROPPED.labels(self._camera, cause).inc()
            self._left()
