"""Records one window of a camera: reads its video, stores a file, and then advances the camera's position.

    writer = Writer(client, library, ledgers, tails, idle_s=30)
    async with Log(client, "MEDIA") as log:
        wait_s = await writer.write(log, "lobby")        # seconds until the next try

The position advances after everything is durable: files, then the index of an hour that ends, then the ledger. After
any failure the same window is read again. Its written files are in no index: `keeping` removes them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec
from nats.aio.client import Client

from services.recorder import metrics
from services.recorder.ledgers import Ledgers
from services.recorder.masking.masker import Stored, mask_window
from services.recorder.tails import Tails, head_of
from shared.bus.log import Log
from shared.contract import names
from shared.contract.reading.missing import Unread
from shared.recordings.files import SegmentWithVideo, VideoFile, build_files
from shared.recordings.ledger import Last, Ledger, advance, hole_before
from shared.recordings.library import Library
from shared.recordings.policy import Mask
from shared.recordings.records import Cause, Hole
from shared.recordings.streams import select_streams
from shared.recordings.windows import HOLE, LENGTH, Head, Window, next_window

# The longest wait between checks whether a file is complete.
FILE_CHECK_S = 15.0
# A segment that MEDIA claims to have, and does not return for this long, was deleted.
UNREAD_S = 120.0


class Writer:
    """See the module. idle_s: seconds without video after which the remaining segments make a file.

    masks: a camera's masks, applied before it is stored; it may raise Unread.
    """

    def __init__(
        self,
        client: Client,
        library: Library,
        ledgers: Ledgers,
        tails: Tails,
        *,
        idle_s: float,
        masks: Callable[[str], Sequence[Mask]] = lambda camera: (),
    ) -> None:
        self._js = client.jetstream()
        self._library = library
        self._ledgers = ledgers
        self._tails = tails
        self._idle_s = idle_s
        self._masks = masks
        # Since when a camera's video is in MEDIA and can't be read, in monotonic seconds.
        self._unread: dict[str, float] = {}

    async def write(self, log: Log, camera: str) -> float:
        """Record one window, if one is complete; return the seconds after which there may be another.

        Raises StoreUnavailable, Unanswered, Taken, nats.errors.Error or TimeoutError: call it again then.
        """
        ledger = await self._ledgers.of(camera)
        found, heads = await self._window(log, camera, ledger)
        if found is None:
            return _until_full_s(heads)
        masks = self._masks(camera)
        read = await read_segments(log, heads)
        if len(read) < len(heads):
            await self._check_expired(camera, heads, read)
            # The rest is a window of its own.
            found = next_window([one.head for one in read], ended=True)
        self._unread.pop(camera, None)
        await self._commit(camera, ledger, heads, read[found.passed :][: found.taken] if found else [], masks=masks)
        return 0.0

    async def pass_over(self, log: Log, camera: str) -> None:
        """Skip a window that can't be made a file, whatever it contains. Raises as `write` does."""
        ledger = await self._ledgers.of(camera)
        found, heads = await self._window(log, camera, ledger)
        if found:
            await self._commit(camera, ledger, heads, [], cause="damaged")

    async def _window(self, log: Log, camera: str, ledger: Ledger) -> tuple[Window | None, list[Head]]:
        """Return the next file's window and its segments; None if that is undecided, and all segments.

        They are of the main stream, or of the substream while that is away.
        """
        position = ledger.position
        if 0 < self._tails.newest(camera) < position - 1:
            # Another process has recorded further than we know; or MEDIA was recreated, and counts from the start.
            state = (await self._js.stream_info(names.MEDIA)).state
            position = 1 if state.last_seq < position - 1 else position
        heads = self._tails.since(camera, position)
        if heads is None:
            heads = await self._tails.learn(log, camera, position)
        new = [head for head in heads if not _is_known(ledger.last, head)]
        ended = self._tails.silent_s(camera) >= self._idle_s
        heads = select_streams(new, ledger.last, ended=ended)
        if new and not heads and ended:
            await self._leave_out(camera, ledger, new[-1].seq)
        found = next_window(heads, ended=ended)
        return found, heads[: found.passed + found.taken] if found else heads

    async def _leave_out(self, camera: str, ledger: Ledger, seq: int) -> None:
        """Advance behind the end of a substream whose time the main stream showed: it would wait for ever."""
        if ledger.last:
            ledger = msgspec.structs.replace(ledger, last=msgspec.structs.replace(ledger.last, seq=seq))
            await self._ledgers.store(camera, ledger)
            self._tails.forget(camera, ledger.position)

    async def _commit(
        self,
        camera: str,
        ledger: Ledger,
        heads: Sequence[Head],
        read: Sequence[SegmentWithVideo],
        *,
        masks: Sequence[Mask] = (),
        cause: Cause = "expired",
    ) -> None:
        """Store the files of `read`, and advance the position behind `heads`.

        heads: all segments processed, at least as far as `read`. cause: why there is no video, if there is none.
        """
        stored = await mask_window(read, masks) if masks and read else Stored(list(read), [])
        written, holes = await asyncio.to_thread(build_files, stored.read, secrets.token_hex(4))
        holes += stored.holes
        if hole := await self._hole(ledger, heads, read, cause):
            holes.insert(0, hole)
        missing = [(hole.cause, hole.segments) for hole in holes if hole.segments]
        last = Last.of(read[-1].head if read else heads[-1])
        for one in written:
            await self._put(one)
        rows = [one.record for one in written]
        while True:
            step = advance(camera, ledger, rows, holes, last)
            if step.closed:
                await self._library.close(step.closed)
            await self._ledgers.store(camera, step.ledger)
            rows, ledger = rows[step.taken :], step.ledger
            holes = [hole for hole in holes if hole not in ledger.holes]
            if not rows:
                break
        self._tails.forget(camera, ledger.position)
        metrics.SEGMENTS.labels("recorded").inc(sum(one.record.segments for one in written))
        for why, count in missing:
            metrics.SEGMENTS.labels(why).inc(count)

    async def _check_expired(self, camera: str, heads: Sequence[Head], read: Sequence[SegmentWithVideo]) -> None:
        """Check that MEDIA has dropped the unread segments. Raises Unread if its servers may yet return them."""
        found = {one.head.seq for one in read}
        first = (await self._js.stream_info(names.MEDIA)).state.first_seq
        if left := [head.seq for head in heads if head.seq not in found and head.seq >= first]:
            since = self._unread.setdefault(camera, time.monotonic())
            if time.monotonic() - since < UNREAD_S:
                raise Unread(
                    f"{len(left)} segments of {camera} were not read: do the servers lag, or lack their files?"
                )

    async def _put(self, file: VideoFile) -> None:
        began = time.monotonic()
        await self._library.store.put(file.record.key, list(file.buffers))
        metrics.WRITE.observe(time.monotonic() - began)
        metrics.FILES.inc()
        metrics.BYTES.inc(file.record.size)

    async def _hole(
        self, ledger: Ledger, heads: Sequence[Head], read: Sequence[SegmentWithVideo], cause: Cause
    ) -> Hole | None:
        """Return the hole between the last processed segment and these; all of it, if none of them is left."""
        last = ledger.last
        if last is None:
            return None
        if not read:
            # The video that it is decoded from is gone.
            until = max(last.end, heads[-1].end)
            return Hole(since=last.end, until=until, cause="policy" if ledger.off else cause, segments=len(heads))
        first = read[0].head
        follows = first.segment.epoch == last.epoch and first.segment.n == last.n + 1
        if follows and abs(first.segment.start - last.end) <= HOLE:
            return None
        state = (await self._js.stream_info(names.MEDIA)).state
        return hole_before(last, first, expired=state.first_seq > ledger.position, off=ledger.off)


def _is_known(last: Last | None, head: Head) -> bool:
    """Whether a segment was processed: ingest may publish it again once MEDIA has forgotten its id."""
    return last is not None and head.segment.epoch == last.epoch and head.segment.n <= last.n


def _until_full_s(heads: Sequence[Head]) -> float:
    """Return the seconds until these may make a file, bounded, as a file may end early."""
    filmed = (heads[-1].end - heads[0].segment.start) / dt.timedelta(seconds=1) if heads else 0.0
    return min(FILE_CHECK_S, max(1.0, LENGTH.total_seconds() - filmed))


async def read_segments(log: Log, heads: Sequence[Head]) -> list[SegmentWithVideo]:
    """Return the segments that MEDIA still has, with their video. Raises nats.errors.Error or TimeoutError.

    heads: in order. Those of the main stream follow those of the substream, or precede them.
    """
    read: list[SegmentWithVideo] = []
    for main, run in groupby(heads, key=attrgetter("main")):
        wanted = {head.seq: head for head in run}
        seq, last = min(wanted), max(wanted)
        subject = names.streams_of(wanted[seq].segment.camera)[main]
        while seq <= last and (part := await log.read(subject, seq)):
            for stored in part:
                if stored.seq in wanted and (head := head_of(stored)):
                    read.append(SegmentWithVideo(head, stored.data))
            seq = part[-1].seq + 1
    return read
