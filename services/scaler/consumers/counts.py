"""What a consumer's replies count: its state, the messages that arrived, and those that expired before delivery. Pure.

Expiry lowers a consumer's pending count, and so hides overload when it matters most. It leaves a trace: the consumer's
place in the stream advances by more than its deliveries. The count is a lower bound, as redeliveries count as
deliveries. It applies only to consumers of all subjects of their stream: a filter's gaps would count as losses.
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
        self._first = -1
        self._created = ""
        self._deliveries = 0
        # Every sequence number up to here was delivered or counted.
        self._counted_seq = 0

    def count(self, *, first_seq: int, stream_seq: int, consumer_seq: int, created: str = "") -> int:
        """Return the newly expired messages, given the stream's first sequence and the consumer's `delivered` pair.

        created: the consumer's creation time, which identifies a recreated one.

        Read the stream before the consumer. Otherwise a message that is delivered and deleted between the two reads
        would count as expired. A recreated stream or consumer starts a new count.
        """
        counted_seq = max(stream_seq, first_seq - 1)
        new = 0
        is_same = self._first >= 0 and created == self._created
        if (
            is_same
            and first_seq >= self._first
            and consumer_seq >= self._deliveries
            and counted_seq >= self._counted_seq
        ):
            passed = max(0, stream_seq - self._counted_seq - (consumer_seq - self._deliveries))
            ahead = max(0, first_seq - 1 - max(stream_seq, self._counted_seq))
            new = passed + ahead
        self._first, self._deliveries, self._counted_seq = first_seq, consumer_seq, counted_seq
        self._created = created
        self.total += new
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
