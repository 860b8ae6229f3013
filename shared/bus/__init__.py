"""NATS: connect, publish with acknowledgement, pull, read, lease, request and reply.

client = await bus.connect(settings, "cv")
await bus.publish(client, client.jetstream(), subject, payload, {"Nats-Msg-Id": id})
"""

from shared.bus.connection import connect, consumer_info
from shared.bus.publish import (
    PUBLISH_TIMEOUT_S,
    UNACKNOWLEDGED,
    can_never_be_stored,
    dead_letter,
    dead_letter_stored,
    defer,
    header_bytes,
    is_full,
    publish,
    publish_job,
    publish_job_now,
)
from shared.bus.waiting import answered

__all__ = [
    "PUBLISH_TIMEOUT_S",
    "UNACKNOWLEDGED",
    "answered",
    "can_never_be_stored",
    "connect",
    "consumer_info",
    "dead_letter",
    "dead_letter_stored",
    "defer",
    "header_bytes",
    "is_full",
    "publish",
    "publish_job",
    "publish_job_now",
]
