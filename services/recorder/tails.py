"""What MEDIA holds of each camera that is not recorded yet: its segments' headers, without their video.

    tails = Tails(client)
    running = asyncio.create_task(tails.run())
    heads = tails.since("lobby", position)      # None: not all are known, and to be learned

The server tells the headers of what it stores, which costs next to nothing; who hears them knows when a file is
complete before any video is read. It also says which message of the camera came before: what was not heard shows.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Iterable

from nats.aio.client import Client
from nats.aio.msg import Msg

from services.recorder import metrics
from shared.bus.direct import Stored, stored
from shared.bus.log import Log
from shared.contract import names, segment
from shared.contract.deadletters import REPLAY_OF
from shared.recordings.windows import Head
from shared.runtime.errors import BadSegment, BusError

# Of the server, in what it republishes.
_BEFORE, _SIZE = "Nats-Last-Sequence", "Nats-Msg-Size"
# Of cameras that another process records so much is kept, for who asks for the last minutes.
KEPT_S = 300.0
_EVERY_S = 5.0
# Nothing is known behind any sequence.
_UNKNOWN = 2**63


class _Tail:
    """heads: in order. after: nothing is missing behind this sequence. last: the newest that was heard of, of any kind.
    time, heard: when it was stored, by the server's clock, and when we heard, in monotonic seconds.
    """

    def __init__(self, after: int) -> None:
        self.heads = deque[tuple[float, Head]]()
        self.after = self.last = after
        self.time = dt.datetime.min.replace(tzinfo=dt.UTC)
        self.heard = time.monotonic()


class Tails:
    """See the module. `owned`: the cameras of which nothing is forgotten before it is recorded."""

    def __init__(self, client: Client) -> None:
        self.owned: set[str] = set()
        self._client = client
        self._tails: dict[str, _Tail] = {}

    @property
    def cameras(self) -> list[str]:
        """All that were heard of, or learned."""
        return list(self._tails)

    def meet(self, cameras: Iterable[str]) -> None:
        """There is something of these; what, is to be learned."""
        for camera in cameras:
            self._tails.setdefault(camera, _Tail(_UNKNOWN))

    def since(self, camera: str, position: int) -> list[Head] | None:
        """The segments from a sequence on; None where some may be unknown."""
        tail = self._tails.get(camera)
        if tail is None or tail.after >= position:
            return None
        return [head for _, head in tail.heads if head.seq >= position]

    def newest(self, camera: str) -> int:
        """The sequence of what was stored last of it, as far as known; 0: nothing is."""
        tail = self._tails.get(camera)
        return tail.last if tail and tail.after != _UNKNOWN else 0

    def has_heads(self, camera: str) -> bool:
        """Whether a segment of it is known that is not recorded yet."""
        tail = self._tails.get(camera)
        return tail is not None and bool(tail.heads)

    def silent_s(self, camera: str) -> float:
        """For how long nothing of it was stored, as far as known."""
        tail = self._tails.get(camera)
        return time.monotonic() - tail.heard if tail else 0.0

    def waiting_s(self, cameras: Iterable[str]) -> float:
        """For how long the oldest segment of these has been known, and is not forgotten; 0 where there is none."""
        tails = (self._tails.get(camera) for camera in cameras)
        oldest = min((tail.heads[0][0] for tail in tails if tail and tail.heads), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    async def learn(self, log: Log, camera: str, position: int) -> list[Head]:
        """The same, read where not all were heard of. Raises nats.errors.Error or TimeoutError."""
        tail = _Tail(position - 1)
        while read := await log.read(names.media(camera), tail.last + 1):
            for one in read:
                _append(tail, one, head_of(one))
        known = self._tails.get(camera)
        if known and known.after <= tail.last:
            # Heard meanwhile, and without a gap. What has one is replaced by the next that is heard.
            tail.heads.extend((at, head) for at, head in known.heads if head.seq > tail.last)
            tail.last, tail.time = max((tail.last, tail.time), (known.last, known.time))
        self._tails[camera] = tail
        return [head for _, head in tail.heads]

    def forget(self, camera: str, position: int) -> None:
        """What is before a sequence is recorded."""
        if tail := self._tails.get(camera):
            while tail.heads and tail.heads[0][1].seq < position:
                tail.after = max(tail.after, tail.heads.popleft()[1].seq)

    def forget_old(self, camera: str) -> None:
        """Of a camera that is not recorded no more is known than of another's."""
        if tail := self._tails.get(camera):
            _prune(tail)

    async def run(self) -> None:
        """Hear of what is stored until cancelled. Raises BusError once the connection is closed."""
        subscription = await self._client.subscribe(names.stored(names.media(">")), cb=self._hear)
        try:
            while not self._client.is_closed:
                self._prune()
                await asyncio.sleep(_EVERY_S)
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()
        raise BusError("the connection to NATS was closed")

    async def _hear(self, message: Msg) -> None:
        one = stored(message)
        camera, before = one.subject.removeprefix(names.media("")), int(one.headers[_BEFORE])
        tail = self._tails.get(camera)
        # A newer one that counts less is of a stream that was made anew.
        is_anew = tail is not None and one.seq <= tail.last and one.time > tail.time
        if tail is None or tail.after == _UNKNOWN or before > tail.last or is_anew:
            tail = self._tails[camera] = _Tail(before)
        if one.seq > tail.last:
            _append(tail, one, _head(one, int(one.headers[_SIZE])))

    def _prune(self) -> None:
        now = time.monotonic()
        for camera, tail in list(self._tails.items()):
            if camera not in self.owned:
                _prune(tail)
            # An owned one of which nothing is known is yet to be looked at.
            elif tail.after == _UNKNOWN:
                continue
            if not tail.heads and now - tail.heard > KEPT_S:
                del self._tails[camera]


def _prune(tail: _Tail) -> None:
    while tail.heads and time.monotonic() - tail.heads[0][0] > KEPT_S:
        tail.after = max(tail.after, tail.heads.popleft()[1].seq)


def head_of(one: Stored) -> Head | None:
    """None where it is no segment, or one that is out of its place: a dead letter that was replayed."""
    return _head(one, len(one.data))


def _head(one: Stored, size: int) -> Head | None:
    if REPLAY_OF in one.headers:
        return None
    try:
        return Head(one.seq, segment.from_message(one.subject, one.headers), size)
    except BadSegment:
        metrics.SEGMENTS.labels("unreadable").inc()
        return None


def _append(tail: _Tail, one: Stored, head: Head | None) -> None:
    tail.last, tail.time, tail.heard = one.seq, one.time, time.monotonic()
    if head is not None:
        tail.heads.append((tail.heard, head))
