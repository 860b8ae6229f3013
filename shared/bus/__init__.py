"""NATS: connect, publish with acknowledgement, pull, read, lease, request and reply.

    client = await bus.connect(settings, "cv")
    await bus.publish(client, client.jetstream(), subject, payload, {"Nats-Msg-Id": id})

| module | idea |
|---|---|
| `password`, `client` | a password that may change; nats-py's client with workarounds |
| `waiting` | waits for JetStream while it can't answer |
| `connection` | connects, and configures consumers |
| `direct`, `log` | one stored message by direct get; a stream read as a log, without a consumer |
| `infos` | the state of streams and consumers, with the rights of one connection |
| `publish` | publishes results, jobs and dead letters until JetStream acknowledges |
| `pull_request`, `pull` | one pull request at a time; a pull subscription with credit by count and bytes |
| `no_wait` | one message, only if it is there now |
| `wakeups` | a call at the next message on a subject |
| `requests` | requests and replies, as NATS micro services |
| `clock` | the clock of the server |
| `mirror` | a live copy of a KV bucket |
| `leasing` | exclusive work: leases of things in a bucket |
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
