"""Read verdicts of EVENTS in their place, and learn how far the log is known to reach.

Example:
    verdicts = VerdictLog()
    await verdicts.read(log)
    for verdict in verdicts.take(before=stored.seq): ...    # those that were stored before these detections
    end, last = log_end.reached(found, position, sent)      # all that was stored until `end`, up to `last`, was read
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from shared.bus.clock import ServerClock
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import events, names
from shared.contract.events import Verdict
from shared.runtime.errors import BadMessage
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

VERDICTS = names.event("verdicts", "*")
# The answering server may learn of a message a moment after it was stored.
SLACK_S = 1.0
# After this long without detections, restored segments that have not come again are lost.
IDLE_S = 5.0
# A verdict's reason is cut to this many characters.
MOST_REASON = 4000
# This many verdicts are read ahead of the detections before them.
MOST_WAITING = 10_000

# A sequence after all others.
EVERYTHING = 2**63 - 1

_LOG = logger("analytics")


class StoredVerdict(NamedTuple):
    """A verdict in EVENTS. at: when it was stored, Unix seconds."""

    seq: int
    at: float
    verdict: Verdict


def verdict_of(stored: Stored) -> StoredVerdict | None:
    """Return the verdict of a message; log a warning and return None if it holds none."""
    try:
        verdict = events.decode(stored.data, Verdict, stored.subject)
    except BadMessage as e:
        _LOG.warning("not a verdict", subject=stored.subject, seq=stored.seq, error=redact(str(e), 200))
        return None
    # The frames that the model saw are not used here, and may be long.
    verdict = msgspec.structs.replace(verdict, reason=verdict.reason[:MOST_REASON], frames=[])
    return StoredVerdict(stored.seq, stored.time.timestamp(), verdict)


class VerdictLog:
    """Verdicts that were read, until the detections before them have been read too. next_read: sequence in EVENTS."""

    def __init__(self) -> None:
        self._next_read = 1
        self._waiting: deque[StoredVerdict] = deque()

    @property
    def next(self) -> int:
        """The sequence of the first verdict not taken yet."""
        return self._waiting[0].seq if self._waiting else self._next_read

    def rewind(self, seq: int) -> None:
        """Read on from `seq`, and drop what waits: it is read again."""
        self._next_read = seq
        self._waiting.clear()

    async def read(self, log: Log) -> None:
        """Read new verdicts. Raises nats.errors.Error or TimeoutError if the server does not answer."""
        if len(self._waiting) >= MOST_WAITING:
            return
        for stored in await log.read(VERDICTS, self._next_read):
            self._next_read = stored.seq + 1
            if verdict := verdict_of(stored):
                self._waiting.append(verdict)

    def take(self, before: int | None = None) -> Iterator[StoredVerdict]:
        """Take those that were stored before a sequence, or all of them, in their order."""
        while self._waiting and (before is None or self._waiting[0].seq < before):
            yield self._waiting.popleft()


class LogEnd:
    """Until when, and up to which sequence, all detections are known to have been read."""

    def __init__(self) -> None:
        self.clock = ServerClock()
        self._idle_since: float | None = None

    def reset(self) -> None:
        """Forget the idle time: another partition may be read from further back."""
        self._idle_since = None

    def reached(self, found: Sequence[Stored], position: int, sent: float) -> tuple[float, int]:
        """Return (Unix seconds, sequence) up to which the log was read.

        found: the response to a request sent at `sent`, by `time.monotonic()`, from `position` on.
        """
        if found:
            self._idle_since = None
            return found[-1].time.timestamp(), found[-1].seq
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        # The answering server may lag behind: restored segments may still come after a moment.
        is_idle = now - self._idle_since >= IDLE_S
        return self.clock.server(sent) - SLACK_S, EVERYTHING if is_idle else position - 1
