"""What has come to a consumer, what of it is done, and what expired before anybody saw it. Pure.

progress = Progress()
progress.take(consumer, stream)          # the stream has to be asked before the consumer
progress.arrived, progress.cleared       # these never fall: rates are made of how they grow

JetStream has no such counts. Expiry lowers what is pending before a consumer's place moves on, so that a sum of both
falls for a while; redeliveries count as deliveries; and a consumer that is made anew begins at 0.
"""

from __future__ import annotations

from shared.bus.infos import ConsumerInfo, StreamInfo


class Progress:
    """arrived: messages that the consumer was ever to get, of which the first look finds those so far. cleared: those
    of them that are done. expired: those since the first look that left the stream unseen, at least.
    """

    def __init__(self) -> None:
        self.arrived = self.cleared = self.expired = 0
        self._created = ""
        self._base = 0
        self._first = -1
        self._deliveries = 0
        # Every sequence up to here was delivered, or has expired.
        self._settled = 0

    def take(self, consumer: ConsumerInfo, stream: StreamInfo) -> None:
        anew = bool(self._created) and consumer.created != self._created
        place = consumer.delivered.consumer_seq
        if stream.is_whole(consumer):
            place = max(consumer.delivered.stream_seq, stream.state.first_seq - 1)
            self._expire(consumer, stream.state.first_seq, place, anew)
        if anew:
            # What it is to get once more is work once more.
            self._base = self.arrived - place
        self._created = consumer.created
        reached = self._base + place
        self.arrived = max(self.arrived, reached + consumer.num_pending)
        self.cleared = max(self.cleared, reached - consumer.num_ack_pending - self.expired)

    def _expire(self, consumer: ConsumerInfo, first: int, settled: int, anew: bool) -> None:
        """A consumer's place that moves on by more than it was delivered has passed over what was gone.

        Redeliveries hide some of that. A stream or consumer that was made anew begins a new count.
        """
        deliveries = consumer.delivered.consumer_seq
        known = self._first >= 0 and not anew
        if known and first >= self._first and deliveries >= self._deliveries and settled >= self._settled:
            delivered_to = consumer.delivered.stream_seq
            passed = max(0, delivered_to - self._settled - (deliveries - self._deliveries))
            self.expired += passed + max(0, first - 1 - max(delivered_to, self._settled))
        self._first, self._deliveries, self._settled = first, deliveries, settled


def oldest(consumer: ConsumerInfo, stream: StreamInfo, *, nobody: bool) -> int | None:
    """The sequence from which on the oldest message lies that waits; None where none does.

    It is the first that was never given to anybody. The floor of acknowledgements is no help: it stays below a message
    that nobody is given any more, and so would one that died with its worker look as if it had waited ever since.
    nobody: what is in flight waits, too, as nobody is there who has it in hand.
    """
    if consumer.num_pending:
        return max(consumer.delivered.stream_seq + 1, stream.state.first_seq)
    if consumer.num_ack_pending and nobody:
        return max(consumer.ack_floor.stream_seq + 1, stream.state.first_seq)
    return None
