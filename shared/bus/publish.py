"""Publishing until JetStream acknowledges: results, jobs, and dead letters."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError

from shared.bus.direct import Stored
from shared.contract import deadletters, ids, names
from shared.contract.work import backfill, jobs
from shared.contract.work.backfill import Backfill
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BusError, Full, Unstorable
from shared.runtime.redact import redact

PUBLISH_TIMEOUT_S = 5.0
DELAYS = Backoff(first_s=0.05, longest_s=2.0)
# Possible causes, in words, if a server takes a message but never acknowledges it.
UNACKNOWLEDGED = (
    "JetStream does not acknowledge: it is slow or away, or its disk is or was full, after which nats-server stores "
    "nothing until it is restarted: its log and its /healthz say so"
)
# JetStream's error codes for a message, or for headers, over its limit.
_TOO_LARGE = (10054, 10097)
# The code for a message that can't be stored now, as when its stream is full.
_FULL = 10077


async def publish(
    client: Client,
    js: JetStreamContext,
    subject: str,
    payload: bytes,
    headers: Mapping[str, str],
    *,
    patience_s: float = 60.0,
    waits_for_room: bool = True,
) -> PubAck:
    """Publish until JetStream acknowledges, for up to `patience_s`. `headers` must hold `Nats-Msg-Id`, unsealed.

    Every try has the same id: a try can time out and yet be stored once the server is back. Raises Unstorable if the
    message is over the server's limits. Raises Full if the stream has no room for `patience_s`, or immediately without
    `waits_for_room`. Raises BusError if no stream takes the subject, or the server does not answer for `patience_s`.
    """
    if "Nats-Msg-Id" not in headers:
        raise ValueError("a publish without Nats-Msg-Id can be stored twice")
    if len(payload) + header_bytes(headers) > client.max_payload:
        raise Unstorable(
            f"message for {subject} has {len(payload)} bytes, over the server's max_payload of {client.max_payload}"
        )
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    tries = 0
    while True:
        try:
            return await js.publish(subject, payload, headers=dict(headers), timeout=PUBLISH_TIMEOUT_S)
        except nats.errors.ConnectionClosedError as e:
            raise BusError(f"the connection was closed before {subject} was acknowledged") from e
        except (nats.errors.BadHeaderError, nats.errors.BadSubjectError, nats.errors.MaxPayloadError) as e:
            raise Unstorable(f"a message for {subject} can't be sent: {redact(repr(e))}") from e
        except APIError as e:
            if can_never_be_stored(e):
                raise Unstorable(f"JetStream refuses a message for {subject}: {e.description}") from e
            full = is_full(e)
            if loop.time() >= deadline or (full and not waits_for_room):
                kind = Full if full else BusError
                waited = f" for {patience_s:.0f} s" if waits_for_room or not full else ""
                raise kind(f"{subject} was not stored{waited}: {e.description}") from e
        except (TimeoutError, OSError, nats.errors.Error) as e:
            if loop.time() >= deadline:
                raise BusError(f"{subject} was not acknowledged for {patience_s:.0f} s: {_reason(e)}") from e
        tries += 1
        await asyncio.sleep(DELAYS.after(tries))


def _reason(error: Exception) -> str:
    return UNACKNOWLEDGED if isinstance(error, TimeoutError) else redact(repr(error))


def can_never_be_stored(error: APIError) -> bool:
    """Whether JetStream refuses a message permanently, as it is over the limit."""
    return error.err_code in _TOO_LARGE


def is_full(error: APIError) -> bool:
    """Whether JetStream refuses a message because its stream, or the disk, is full."""
    return error.err_code == _FULL


async def publish_job(
    client: Client,
    job: jobs.Job,
    headers: Mapping[str, str] | None = None,
    *,
    patience_s: float = 60.0,
    waits_for_room: bool = True,
) -> PubAck:
    """Put a job into its stream, once however often it is published.

    Raises BusError, also where the stream is full for `patience_s`, and ValueError for a job without an id, which
    deduplication needs.
    """
    if job.message_id is None:
        raise ValueError(f"a job of kind {job.kind} needs an id: published twice it would be done twice")
    head = {"Nats-Msg-Id": job.message_id, **(headers or {})}
    if job.wait_s is not None:
        # The server deletes it after these whole seconds, by its own clock, even while no worker runs.
        head["Nats-TTL"] = f"{math.ceil(job.wait_s)}s"
    return await publish(
        client,
        client.jetstream(),
        jobs.subject(job),
        jobs.encode(job),
        head,
        patience_s=patience_s,
        waits_for_room=waits_for_room,
    )


async def publish_job_now(
    client: Client, job: jobs.Job, headers: Mapping[str, str] | None = None, *, patience_s: float
) -> PubAck:
    """Publish a job, but raise Full immediately if its stream is full. Wait for a server that is away."""
    return await publish_job(client, job, headers, patience_s=patience_s, waits_for_room=False)


async def defer(client: Client, service: str, job: Backfill, headers: Mapping[str, str] | None = None) -> bool:
    """Publish a backfill job, once however often it is called; return whether there is room.

    Raises BusError if the server is away for long.
    """
    head = {"Nats-Msg-Id": backfill.deferred_id(job.revises), **(headers or {})}
    to = names.backfill(service, job.camera)
    try:
        await publish(client, client.jetstream(), to, backfill.encode(job), head, waits_for_room=False)
    except (Full, Unstorable):
        return False
    return True


async def dead_letter(client: Client, service: str, message: Msg, reason: str, *, patience_s: float = 60.0) -> None:
    """Put a message that `service` gives up into the stream DLQ, with the reason; whole if it fits. Raises BusError."""
    meta = message.metadata
    stored = Stored(meta.sequence.stream, message.subject, meta.timestamp, message.headers or {}, message.data)
    await dead_letter_stored(
        client, service, meta.stream, stored, reason, deliveries=meta.num_delivered, patience_s=patience_s
    )


async def dead_letter_stored(
    client: Client,
    service: str,
    stream: str,
    stored: Stored,
    reason: str,
    *,
    deliveries: int = 1,
    patience_s: float = 60.0,
) -> None:
    """Dead-letter a message that was read without a consumer."""
    headers = deadletters.dead_letter_headers(
        service,
        reason,
        stream=stream,
        seq=stored.seq,
        subject=stored.subject,
        deliveries=deliveries,
        headers=stored.headers,
    )
    js, to = client.jetstream(), names.dead_letters(service)
    if len(stored.data) + header_bytes(headers) <= client.max_payload:
        try:
            await publish(client, js, to, stored.data, headers, patience_s=patience_s)
            return
        except Unstorable:  # DLQ may take less than the server does
            pass
    headers |= {"Dlq-Payload": "absent"}
    await publish(client, js, to, b"", headers, patience_s=patience_s)


def header_bytes(headers: Mapping[str, str]) -> int:
    """Return the maximum bytes of headers on the wire: the id is sealed on its way."""
    fields = sum(len(k.encode()) + len(v.encode()) + len(": \r\n") for k, v in headers.items())
    return len("NATS/1.0\r\n\r\n") + fields + ids.LENGTH
