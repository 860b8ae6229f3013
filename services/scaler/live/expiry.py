"""Messages that left a stream before a consumer saw them, counted from what JetStream says of both. Pure.

    expired = ExpiryCounter()
    expired.count(first_seq=stream.state.first_seq,           # read the stream first, then the consumer
                   stream_seq=consumer.delivered.stream_seq,
                   consumer_seq=consumer.delivered.consumer_seq)

Expiry lowers a consumer's pending count, and so hides overload where it matters most. It leaves a trace: the consumer's
place in the stream moves on by more than it has delivered. The count is a lower bound, as redeliveries count as
deliveries. It is for consumers of every subject of their stream: a filter's gaps would read as losses.
"""

from __future__ import annotations


class ExpiryCounter:
    """total: expired since the first `count`. What expired before is not counted, so a restart counts nothing twice."""

    def __init__(self) -> None:
        self.total = 0
        self._first = -1
        self._created = ""
        self._deliveries = 0
        # Every sequence number up to here was delivered or is counted.
        self._counted_seq = 0

    def count(self, *, first_seq: int, stream_seq: int, consumer_seq: int, created: str = "") -> int:
        """Messages that have newly expired, given the stream's first sequence and the consumer's `delivered` pair.

        created: when the consumer was, by which one that was made anew is known.

        The stream must be read before the consumer. The other way round, a message that was delivered and deleted
        between the two would read as expired. A stream or consumer that was made anew starts a new count.
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


def waiting(messages: int, last_seq: int, stream_seq: int, ack_pending: int) -> int:
    """How many messages of a work queue its only consumer has yet to get, by the stream that was read before it.

    The consumer's own count is too low, until it reaches the stream's end, where it was asked for just as messages
    expired (nats-server 2.15.1): a question might wait and no worker be started. What the consumer has got since the
    stream was read is not counted. stream_seq: the last that it was given.
    """
    return max(0, min(messages - ack_pending, last_seq - stream_seq))
