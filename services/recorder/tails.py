"""Tracks the segments of each camera in MEDIA that are not recorded yet, by their headers, without video.

    tails = Tails(client)
    running = asyncio.create_task(tails.run())
    heads = tails.since("lobby", position)      # of both its streams; None: some may be unknown, call `learn`

The server republishes the headers of what it stores, which costs next to nothing. So the recorder knows when a file is
complete before it reads any video. Each header names the previous message of its subject: gaps are noticed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Iterable
from operator import attrgetter

from nats.aio.client import Client
from nats.aio.msg import Msg

from services.recorder import metrics
from shared.bus.direct import Stored, stored
from shared.bus.log import Log
from shared.contract import names, segment
from shared.contract.deadletters import REPLAY_OF
from shared.recordings.windows import Head
from shared.runtime.errors import BadSegment, connection_closed

# Headers that the server adds to what it republishes.
_BEFORE, _SIZE = "Nats-Last-Sequence", "Nats-Msg-Size"
# Retention of headers of other processes' cameras, for requests for the last minutes.
RETENTION_S = 300.0
_EVERY_S = 5.0


class _Tail:
    """Of one subject. heads: in order. complete_after: no message is missing behind this sequence.

    newest_seq: of any kind of message. stored_at, heard_at: when that one was stored, by the server's clock, and
    received, in monotonic seconds. is_known: whether any message of the subject is known.
    """

    def __init__(self, complete_after: int, *, is_known: bool = True) -> None:
        self.heads = deque[tuple[float, Head]]()
        self.complete_after = self.newest_seq = complete_after
        self.stored_at = dt.datetime.min.replace(tzinfo=dt.UTC)
        self.heard_at = time.monotonic()
        self.is_known = is_known


class Tails:
    """See the module. `owned`: cameras whose segments are not forgotten before they are recorded."""

    def __init__(self, client: Client) -> None:
        self.owned: set[str] = set()
        self._client = client
        # By subject.
        self._tails: dict[str, _Tail] = {}

    @property
    def cameras(self) -> list[str]:
        """All cameras with a tail."""
        return list(dict.fromkeys(map(_camera, self._tails)))

    def meet(self, subjects: Iterable[str]) -> None:
        """Register subjects that have messages, which are not known yet."""
        for subject in subjects:
            self._tails.setdefault(subject, _Tail(0, is_known=False))

    def since(self, camera: str, position: int) -> list[Head] | None:
        """Return the segments of both streams from a sequence on, in order; None if some may be unknown."""
        if any(self._is_incomplete(subject, position) for subject in names.streams_of(camera)):
            return None
        heads = (head for tail in self._of(camera) for _, head in tail.heads if head.seq >= position)
        return sorted(heads, key=attrgetter("seq"))

    def newest(self, camera: str) -> int:
        """Return the sequence of its newest message, as far as known; 0: none is."""
        return max((tail.newest_seq for tail in self._of(camera) if tail.is_known), default=0)

    def has_heads(self, camera: str) -> bool:
        """Whether it has a known segment that is not recorded yet."""
        return any(tail.heads for tail in self._of(camera))

    def silent_s(self, camera: str) -> float:
        """Return how long none of its messages was stored, as far as known."""
        heard_at = max((tail.heard_at for tail in self._of(camera)), default=None)
        return 0.0 if heard_at is None else time.monotonic() - heard_at

    def waiting_s(self, cameras: Iterable[str]) -> float:
        """Return how long the oldest segment of these cameras has waited; 0 if there is none."""
        tails = (tail for camera in cameras for tail in self._of(camera))
        oldest = min((tail.heads[0][0] for tail in tails if tail.heads), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    async def learn(self, log: Log, camera: str, position: int) -> list[Head]:
        """Return the same as `since`, read from the stream. Raises nats.errors.Error or TimeoutError."""
        for subject in names.streams_of(camera):
            if self._is_incomplete(subject, position):
                await self._learn(log, subject, position)
        return self.since(camera, position) or []

    async def _learn(self, log: Log, subject: str, position: int) -> None:
        tail = _Tail(position - 1)
        while read := await log.read(subject, tail.newest_seq + 1):
            for one in read:
                _append(tail, one, head_of(one))
        current = self._tails.get(subject)
        if current and current.is_known and current.complete_after <= tail.newest_seq:
            # Received meanwhile, and without a gap. A tail with a gap is replaced by the next message.
            tail.heads.extend((at, head) for at, head in current.heads if head.seq > tail.newest_seq)
            tail.newest_seq, tail.stored_at = max(
                (tail.newest_seq, tail.stored_at), (current.newest_seq, current.stored_at)
            )
        self._tails[subject] = tail

    def forget(self, camera: str, position: int) -> None:
        """Drop segments before a sequence, which are recorded or left out."""
        for tail in self._of(camera):
            while tail.heads and tail.heads[0][1].seq < position:
                tail.complete_after = max(tail.complete_after, tail.heads.popleft()[1].seq)

    def drop(self, camera: str) -> None:
        """Forget a camera, whose segments were deleted: the others are read from the stream again."""
        for subject in names.streams_of(camera):
            self._tails.pop(subject, None)

    def forget_old(self, camera: str) -> None:
        """Drop old segments of a camera that is not recorded, as of other processes' cameras."""
        for tail in self._of(camera):
            _prune(tail)

    async def run(self) -> None:
        """Receive republished headers until cancelled. Raises BusError once the connection is closed."""
        subscriptions = [
            await self._client.subscribe(names.stored(subject), cb=self._receive) for subject in names.streams_of(">")
        ]
        try:
            while not self._client.is_closed:
                self._prune()
                await asyncio.sleep(_EVERY_S)
        finally:
            for subscription in subscriptions:
                if not self._client.is_closed:
                    await subscription.unsubscribe()
        raise connection_closed()

    def _of(self, camera: str) -> list[_Tail]:
        return [tail for subject in names.streams_of(camera) if (tail := self._tails.get(subject))]

    def _is_incomplete(self, subject: str, position: int) -> bool:
        """Whether segments of a subject from a sequence on may be unknown."""
        tail = self._tails.get(subject)
        return tail is None or not tail.is_known or tail.complete_after >= position

    async def _receive(self, message: Msg) -> None:
        one = stored(message)
        subject, before = one.subject, int(one.headers[_BEFORE])
        tail = self._tails.get(subject)
        # A newer message with a lower sequence belongs to a recreated stream.
        is_recreated = tail is not None and one.seq <= tail.newest_seq and one.time > tail.stored_at
        is_gap = tail is not None and before > tail.newest_seq
        if tail is None or not tail.is_known or is_gap or is_recreated:
            tail = self._tails[subject] = _Tail(before)
        if one.seq > tail.newest_seq:
            _append(tail, one, _head(one, int(one.headers[_SIZE])))

    def _prune(self) -> None:
        now = time.monotonic()
        for camera in self.cameras:
            tails = self._of(camera)
            if camera not in self.owned:
                self.forget_old(camera)
            # An owned camera without known segments is yet to be processed.
            elif not all(tail.is_known for tail in tails):
                continue
            if not any(tail.heads or now - tail.heard_at <= RETENTION_S for tail in tails):
                self.drop(camera)


def _prune(tail: _Tail) -> None:
    while tail.heads and time.monotonic() - tail.heads[0][0] > RETENTION_S:
        tail.complete_after = max(tail.complete_after, tail.heads.popleft()[1].seq)


def _camera(subject: str) -> str:
    return subject.partition(".")[2]


def head_of(one: Stored) -> Head | None:
    """Return a message's head; None if it is no segment, or a replayed dead letter, which is out of order."""
    return _head(one, len(one.data))


def _head(one: Stored, size: int) -> Head | None:
    if REPLAY_OF in one.headers:
        return None
    try:
        head = segment.from_message(one.subject, one.headers)
        return Head(one.seq, head, size, one.subject == names.main(head.camera))
    except BadSegment:
        metrics.SEGMENTS.labels("unreadable").inc()
        return None


def _append(tail: _Tail, one: Stored, head: Head | None) -> None:
    tail.newest_seq, tail.stored_at, tail.heard_at = one.seq, one.time, time.monotonic()
    if head is not None:
        tail.heads.append((tail.heard_at, head))
