"""Messages that could not be processed: how they are written to the stream DLQ, and read back. Pure.

A dead letter carries the whole message, so that it can be replayed long after its stream dropped it. A replay goes to
the original subject with `Replay-For` (the one service to take it; others skip it) and `Replay-Of` (stream and sequence
of the original), which determines the result's id: replaying a message that did succeed changes nothing, while EVENTS
knows that id.

Only the service of a dead letter is certain: the server lets no other publish to `dlq.<service>`. All else in it is
that service's claim, and may be false.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract import catalog, names
from shared.contract.segment import rfc3339
from shared.runtime.plain import plain
from shared.runtime.redact import redact

REPLAY_FOR = "Replay-For"
REPLAY_OF = "Replay-Of"
# Our client refuses to send some headers that others send. They are dropped: a message that could not be dead-lettered
# would be delivered for ever.
_HEADER = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_HEADER = 1024
# In bytes. The server stores at most 64 kB of headers, which also have to hold those of the dead letter.
MOST_HEADERS = 32 * 1024
# Prefixes of the server's, a dead letter's and a replay's headers, in any case: foreign ones are dropped.
_OURS = ("nats-", "dlq-", "replay-")
# The server counts to this.
MOST_SEQ = 2**63 - 1
_ORIGIN = re.compile(r"[A-Za-z0-9_-]{1,64}/[0-9]{1,19}")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """seq: its own in DLQ. stream, stream_seq, subject: of the original. payload: None if only a reference exists.

    headers: those of the original that can be published again. of: stream and sequence of the message that the original
    replays, or of the original itself. An unreadable number is 0.
    """

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
    of: str


class _Advisory(msgspec.Struct, frozen=True):
    """The fields used of JetStream's advisory that deliveries ran out; its subject names the consumer."""

    stream_seq: Annotated[int, Meta(ge=0, le=MOST_SEQ)] = 0
    deliveries: Annotated[int, Meta(ge=0, le=MOST_SEQ)] = 0
    timestamp: str = ""


def dead_letter_headers(
    service: str,
    reason: str,
    *,
    stream: str,
    seq: int,
    subject: str,
    deliveries: int,
    headers: Mapping[str, str] | None,
) -> dict[str, str]:
    """Return the headers of a dead letter: the original's, and the reason. Its id lets JetStream drop a repeat."""
    original = headers or {}
    return republishable(original) | {
        "Nats-Msg-Id": f"{service}/{stream}/{seq}",
        "Dlq-Reason": plain(redact(reason))[:MOST_HEADER],
        "Dlq-Stream": stream,
        "Dlq-Seq": str(seq),
        "Dlq-Subject": subject,
        "Dlq-Deliveries": str(deliveries),
        "Dlq-Time": rfc3339(dt.datetime.now(dt.UTC)),
        "Dlq-Msg-Id": original.get("Nats-Msg-Id", "")[:MOST_HEADER],
        "Dlq-Of": origin(stream, seq, original),
    }


def republishable(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a message that can be published with it again, up to the size limit."""
    found: dict[str, str] = {}
    room = MOST_HEADERS
    for name, value in headers.items():
        room -= len(name) + len(value.encode(errors="replace"))
        if room >= 0 and _HEADER.fullmatch(name) and len(value) <= MOST_HEADER and not name.lower().startswith(_OURS):
            found[name] = value
    return found


def origin(stream: str, seq: int, headers: Mapping[str, str]) -> str:
    """Return `<stream>/<seq>` of the message that a message replays, or of the message itself.

    A replay comes later in the same stream. So a claim to replay another stream, or a later message, is ignored: it
    can't take the id of another result.
    """
    replay_of = headers.get(REPLAY_OF, "")
    of, _, number = replay_of.rpartition("/")
    is_earlier = bool(_ORIGIN.fullmatch(replay_of)) and of == stream and 0 < int(number) < seq
    return replay_of if is_earlier else f"{stream}/{seq}"


def read(seq: int, subject: str, headers: Mapping[str, str] | None, payload: bytes) -> DeadLetter:
    """Read a stored message of DLQ: a worker's dead letter, or JetStream's advisory that deliveries ran out.

    Any content can be read: missing values are empty, or 0.
    """
    if subject.startswith(f"{names.MAX_DELIVERIES}."):
        return _advised(seq, subject, payload)
    fields = headers or {}
    stream, stream_seq = _short(fields, "Dlq-Stream"), _number(fields.get("Dlq-Seq", ""))
    return DeadLetter(
        seq=seq,
        service=subject.removeprefix("dlq."),
        reason=_short(fields, "Dlq-Reason") or "unknown",
        stream=stream,
        stream_seq=stream_seq,
        subject=_short(fields, "Dlq-Subject"),
        deliveries=_number(fields.get("Dlq-Deliveries", "")),
        time=_short(fields, "Dlq-Time"),
        headers=republishable(fields),
        payload=payload if fields.get("Dlq-Payload") != "absent" else None,
        of=origin(stream, stream_seq, {REPLAY_OF: fields.get("Dlq-Of") or fields.get(REPLAY_OF, "")}),
    )


def _advised(seq: int, subject: str, payload: bytes) -> DeadLetter:
    stream, _, consumer = subject.removeprefix(f"{names.MAX_DELIVERIES}.").partition(".")
    try:
        advisory = msgspec.json.decode(payload, type=_Advisory)
        reason = f"delivered {advisory.deliveries} times without an answer: its workers died or hung on it"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        advisory, reason = _Advisory(), "JetStream's advisory can't be read"
    return DeadLetter(
        seq=seq,
        service=catalog.service_of(consumer),
        reason=reason,
        stream=stream,
        stream_seq=advisory.stream_seq,
        subject="",
        deliveries=advisory.deliveries,
        time=advisory.timestamp[:MOST_HEADER],
        headers={},
        payload=None,
        of=f"{stream}/{advisory.stream_seq}",
    )


def with_original(entry: DeadLetter, subject: str, headers: Mapping[str, str], payload: bytes) -> DeadLetter:
    """Return the dead letter with the content of its stream, instead of its own claims."""
    of = origin(entry.stream, entry.stream_seq, headers)
    return msgspec.structs.replace(entry, subject=subject, headers=republishable(headers), payload=payload, of=of)


def replay_headers(entry: DeadLetter) -> dict[str, str]:
    """Return headers for publishing a dead letter to its subject again, for its service alone."""
    return entry.headers | {
        REPLAY_FOR: entry.service,
        REPLAY_OF: entry.of,
        # A dead letter that is replayed twice within the stream's window is stored once.
        "Nats-Msg-Id": f"replay/{entry.service}/{entry.of}/{entry.seq}",
    }


def _short(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "")[:MOST_HEADER]


def _number(text: str) -> int:
    """Parse a number that the server may have given; 0 for anything else."""
    return min(int(text), MOST_SEQ) if re.fullmatch("[0-9]{1,19}", text) else 0
