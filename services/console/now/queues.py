"""A service's consumers: arrived and completed messages, and those that expired before delivery. Pure.

JetStream has no such counts. Expiry lowers the pending count before the consumer's position moves, so their sum falls
for a while. Redeliveries count as deliveries. A recreated consumer begins at 0.
"""

from __future__ import annotations

import math

from services.console.now.model import Queue
from services.console.now.rates import Flow
from shared.bus.infos import ConsumerInfo, StreamInfo

# Expired messages are reported for this long.
EXPIRED_S = 600.0


class Progress:
    """arrived: all messages for the consumer; the first poll counts those so far. cleared: those that are done. Neither
    falls: rates are their growth. expired: those that left the stream undelivered since the first poll, at least.
    """

    def __init__(self) -> None:
        self.arrived = self.cleared = self.expired = 0
        self._created = ""
        self._base = 0
        self._first = -1
        self._deliveries = 0
        # Every sequence up to here was delivered or has expired.
        self._passed = 0

    def take(self, consumer: ConsumerInfo, stream: StreamInfo) -> None:
        """Record a poll, of the stream before the consumer."""
        is_recreated = bool(self._created) and consumer.created != self._created
        position = consumer.delivered.consumer_seq
        if stream.is_whole(consumer):
            position = max(consumer.delivered.stream_seq, stream.state.first_seq - 1)
            self._expire(consumer, stream.state.first_seq, position, is_recreated)
        if is_recreated:
            # Redelivered messages are work again.
            self._base = self.arrived - position
        self._created = consumer.created
        reached = self._base + position
        self.arrived = max(self.arrived, reached + consumer.num_pending)
        self.cleared = max(self.cleared, reached - consumer.num_ack_pending - self.expired)

    def _expire(self, consumer: ConsumerInfo, first: int, position: int, is_recreated: bool) -> None:
        """Count expired messages: the consumer's position moved further than its deliveries.

        Redeliveries hide some of them. A recreated stream or consumer begins a new count.
        """
        deliveries = consumer.delivered.consumer_seq
        is_comparable = self._first >= 0 and not is_recreated
        if is_comparable and first >= self._first and deliveries >= self._deliveries and position >= self._passed:
            delivered_to = consumer.delivered.stream_seq
            skipped = max(0, delivered_to - self._passed - (deliveries - self._deliveries))
            self.expired += skipped + max(0, first - 1 - max(delivered_to, self._passed))
        self._first, self._deliveries, self._passed = first, deliveries, position


def oldest(consumer: ConsumerInfo, stream: StreamInfo, *, in_flight_waits: bool) -> int | None:
    """Return the lowest possible sequence of the oldest waiting message; None if none waits.

    It is the first that was never delivered. The ack floor is no help: it stays below a message that is not delivered
    any more, so the message of a dead worker would seem to wait ever since.
    in_flight_waits: messages in flight wait, too: no worker is there to process them.
    """
    if consumer.num_pending:
        return max(consumer.delivered.stream_seq + 1, stream.state.first_seq)
    if consumer.num_ack_pending and in_flight_waits:
        return max(consumer.ack_floor.stream_seq + 1, stream.state.first_seq)
    return None


class QueueSeen:
    """One consumer of a service. counts: whether its backlog counts: deferred work does not."""

    def __init__(self, stream: str, consumer: str, now: float, *, counts: bool) -> None:
        self.stream, self.consumer, self.counts = stream, consumer, counts
        self.progress = Progress()
        self.arriving, self.clearing = Flow(now), Flow(now)
        self.info: ConsumerInfo | None = None
        self.age_s: float | None = 0.0
        self.at = -math.inf
        self.error = ""
        self._expired: list[tuple[float, int]] = []

    def take(self, info: ConsumerInfo, stream: StreamInfo, age_s: float | None, now: float) -> None:
        """Record JetStream's answer. age_s: of the oldest that waits; None if unknown."""
        p = self.progress
        arrived, cleared, expired = p.arrived, p.cleared, p.expired
        p.take(info, stream)
        if self.info is not None:
            self.arriving.add(now, p.arrived - arrived)
            self.clearing.add(now, p.cleared - cleared)
        # Jobs may expire because their request is abandoned.
        if p.expired > expired and not stream.is_work_queue:
            self._expired.append((now, p.expired - expired))
        self._expired = [(at, n) for at, n in self._expired if now - at <= EXPIRED_S]
        self.info, self.age_s, self.at, self.error = info, age_s, now, ""

    @property
    def is_consumed(self) -> bool:
        """Whether a worker pulls messages, or ever received one."""
        return self.info is not None and bool(self.info.num_waiting or self.info.delivered.consumer_seq)

    def now(self, now: float) -> Queue:
        info = self.info or ConsumerInfo()
        return Queue(
            stream=self.stream,
            consumer=self.consumer,
            arriving=round(self.arriving.per_second(now), 3),
            clearing=round(self.clearing.per_second(now), 3),
            pending=info.num_pending,
            in_flight=info.num_ack_pending,
            age_s=None if self.age_s is None else round(self.age_s, 1),
            expired=sum(n for _, n in self._expired),
        )
