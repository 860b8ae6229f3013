"""What a consumer's replies count: its state, the messages that arrived, and those that expired before delivery. Pure.

Expiry lowers a consumer's pending count, and so hides overload when it matters most. It leaves a trace: the consumer's
place in the stream advances by more than its deliveries. The count is a lower bound, as redeliveries count as
deliveries. Where a filter leaves gaps, only messages before the stream's first count, by the share that was pending.
"""

from __future__ import annotations

import msgspec


class ConsumerState(msgspec.Struct, frozen=True, kw_only=True):
    """One reply. at: monotonic seconds of its request.

    pending: waiting messages. in_flight: messages at workers (ack pending). arrived: cumulative messages of the
    consumer; it never decreases.
    """

    at: float
    pending: int
    in_flight: int
    arrived: int

    @property
    def backlog(self) -> int:
        return self.pending + self.in_flight


class ArrivedCounter:
    """Cumulative messages of a consumer: its place in the stream, and the messages pending behind that.

    Expiry lowers the pending count before the place moves on, so their sum can fall for a while; the total does not.
    The pending messages of a recreated consumer are added to the total. Its place is arbitrary: a stream that was lost
    begins late. A place in another sequence continues the total: it can't be compared with the last one.
    """

    def __init__(self) -> None:
        self.total = 0
        self._base = 0
        self._created = ""
        self._of_stream = True

    def reach(self, created: str, place: int, pending: int, *, of_stream: bool = True) -> int:
        """Return the total for the consumer of that creation time, at `place`, with `pending` behind it.

        of_stream: whether `place` is a sequence of the stream, or of the consumer's own deliveries.
        """
        if self._created and created != self._created:
            self._base = self.total - place
        elif self._created and of_stream != self._of_stream:
            self._base = self.total - place - pending
        self._created, self._of_stream = created, of_stream
        self.total = max(self.total, self._base + place + pending)
        return self.total


class ExpiryCounter:
    """total: expired since the first `count`. Earlier expiry is not counted, so a restart counts nothing twice."""

    def __init__(self) -> None:
        self.total = 0
        # The fraction that an estimate leaves for the next one.
        self._rest = 0.0
        self._first = -1
        self._last = 0
        self._created = ""
        self._deliveries = 0
        self._pending: int | None = None
        # Every sequence number up to here was delivered or counted.
        self._counted_seq = 0

    def count(
        self,
        *,
        first_seq: int,
        last_seq: int,
        stream_seq: int,
        consumer_seq: int,
        created: str = "",
        pending: int | None = None,
    ) -> int:
        """Return the newly expired messages, given the stream's first and last sequence, and the consumer's `delivered`
        pair.

        created: the consumer's creation time, which identifies a recreated one. pending: the consumer's, if the stream
        has messages that it does not get; the result is then an estimate.

        Read the stream before the consumer. Otherwise a message that is delivered and deleted between the two reads
        would count as expired. A recreated stream or consumer starts a new count.
        """
        counted_seq = max(stream_seq, first_seq - 1)
        delivered = consumer_seq - self._deliveries
        new = 0
        is_same = self._first >= 0 and created == self._created
        if is_same and first_seq >= self._first and delivered >= 0 and counted_seq >= self._counted_seq:
            if pending is None and self._pending is None:
                passed = stream_seq - self._counted_seq - delivered
                if passed > 0 and stream_seq > last_seq:
                    # Messages after the last one that was read may be of another kind: the next reading of the stream
                    # tells.
                    return 0
                ahead = max(0, first_seq - 1 - max(stream_seq, self._counted_seq))
                new = max(0, passed) + ahead
            elif pending is not None and self._pending is not None:
                arrived = last_seq - self._last
                new = self._estimate(
                    self._pending, first_seq, counted_seq, delivered, self._pending + arrived - pending
                )
        self._first, self._last, self._pending = first_seq, last_seq, pending
        self._deliveries, self._counted_seq, self._created = consumer_seq, counted_seq, created
        self.total += new
        return new

    def _estimate(self, pending: int, first_seq: int, reached: int, delivered: int, missing: int) -> int:
        """Return how many of the messages that were pending at the last reading have expired.

        They are taken as evenly spread over the sequences after the consumer's place of then. Newer messages, which
        arrived and expired since, are not counted. missing: the most that were delivered or expired, if all newer ones
        are the consumer's.
        """
        after = self._last - self._counted_seq
        share = min(1.0, pending / after) if after > 0 else 0.0
        expired = share * (min(first_seq - 1, self._last) - self._counted_seq)
        passed = share * (min(reached, self._last) - self._counted_seq)
        self._rest += max(0.0, min(expired, passed - delivered, missing - delivered))
        new = int(self._rest)
        self._rest -= new
        return new

    def pause(self) -> None:
        """Count nothing until the next `count`: the stream's sequences do not tell."""
        self._first = -1


def waiting(messages: int, last_seq: int, stream_seq: int, ack_pending: int) -> int:
    """Return the undelivered messages of a work queue's only consumer, by the stream that was read before it.

    If consumer info is requested just as messages expire, its own count stays too low until the consumer reaches the
    stream's end (nats-server 2.15.1). Then a question might wait without a worker. Deliveries after the read of the
    stream are not counted. stream_seq: the last delivered sequence.
    """
    return max(0, min(messages - ack_pending, last_seq - stream_seq))
