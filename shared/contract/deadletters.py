"""Messages that could not be processed: how they are buried in the stream DLQ, and what is read back of them. Pure.

A dead letter carries the whole message, so that it can be replayed long after its stream forgot it. A replay goes to
the original subject with `Replay-For` (the one service that shall take it; others pass over it) and `Replay-Of`
(stream and sequence of the original), from which the result's id is made: a replay of something that did get through
changes nothing.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping

import msgspec

from shared.contract import catalog, names
from shared.contract.segment import rfc3339
from shared.runtime.redact import redact

REPLAY_FOR = "Replay-For"
REPLAY_OF = "Replay-Of"
_PREFIX = "Dlq-"
# Our client refuses to send some headers that others send. They are left out: a message that could not be buried would
# be delivered for ever.
_HEADER = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_HEADER = 1024


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """seq: its own in DLQ. stream, stream_seq, subject: of the original. payload: None if only a reference is kept."""

    seq: int
    service: str
    reason: str
    stream: str
    stream_seq: int
    subject: str
    deliveries: int
    time: str
    headers: dict[str, str]
    payload: bytes | None


def bury_headers(
    service: str,
    reason: str,
    *,
    stream: str,
    seq: int,
    subject: str,
    deliveries: int,
    headers: Mapping[str, str] | None,
) -> dict[str, str]:
    """Headers of a dead letter: the original's, and why it was given up. Its id lets JetStream drop a second burial."""
    kept = {
        k: v
        for k, v in (headers or {}).items()
        if _HEADER.fullmatch(k) and len(v) <= MOST_HEADER and not k.startswith(("Nats-", _PREFIX))
    }
    return kept | {
        "Nats-Msg-Id": f"{service}/{stream}/{seq}",
        "Dlq-Reason": " ".join(redact(reason).split())[:1000],
        "Dlq-Stream": stream,
        "Dlq-Seq": str(seq),
        "Dlq-Subject": subject,
        "Dlq-Deliveries": str(deliveries),
        "Dlq-Time": rfc3339(dt.datetime.now(dt.UTC)),
        "Dlq-Msg-Id": (headers or {}).get("Nats-Msg-Id", ""),
    }


def read(seq: int, subject: str, headers: Mapping[str, str] | None, payload: bytes) -> DeadLetter:
    """A stored message of DLQ: a burial by a worker, or JetStream's advisory that deliveries ran out."""
    if subject.startswith(names.MAX_DELIVERIES):
        advisory = json.loads(payload)
        return DeadLetter(
            seq=seq,
            service=catalog.service_of(advisory["consumer"]),
            reason=f"delivered {advisory['deliveries']} times without an answer: its workers died or hung on it",
            stream=advisory["stream"],
            stream_seq=advisory["stream_seq"],
            subject="",
            deliveries=advisory["deliveries"],
            time=advisory["timestamp"],
            headers={},
            payload=None,
        )
    h = dict(headers or {})
    return DeadLetter(
        seq=seq,
        service=subject.removeprefix("dlq."),
        reason=h.get("Dlq-Reason", "unknown"),
        stream=h.get("Dlq-Stream", ""),
        stream_seq=int(h.get("Dlq-Seq", 0)),
        subject=h.get("Dlq-Subject", ""),
        deliveries=int(h.get("Dlq-Deliveries", 0)),
        time=h.get("Dlq-Time", ""),
        headers={k: v for k, v in h.items() if not k.startswith((_PREFIX, "Nats-"))},
        payload=payload if h.get("Dlq-Payload") != "absent" else None,
    )


def replay_headers(letter: DeadLetter) -> dict[str, str]:
    """Headers for publishing a dead letter to its subject again, for its service alone."""
    of = letter.headers.get(REPLAY_OF, f"{letter.stream}/{letter.stream_seq}")
    return letter.headers | {
        REPLAY_FOR: letter.service,
        REPLAY_OF: of,
        # A letter that is replayed twice within the stream's window is stored once.
        "Nats-Msg-Id": f"replay/{letter.service}/{of}/{letter.seq}",
    }
