"""Messages that could not be processed: how they are buried in the stream DLQ, and what is read back of them. Pure.

A dead letter carries the whole message, so that it can be replayed long after its stream forgot it. A replay goes to
the original subject with `Replay-For` (the one service that shall take it; others pass over it) and `Replay-Of`
(stream and sequence of the original), from which the result's id is made: a replay of something that did get through
changes nothing, for as long as EVENTS knows that id.

Of a letter only its service is certain: the server lets nobody else publish to `dlq.<service>`. All else in it is what
that service says, and may be false.
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
# Our client refuses to send some headers that others send. They are left out: a message that could not be buried would
# be delivered for ever.
_HEADER = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_HEADER = 1024
# In bytes. The server stores no more than 64 kB of headers, and those of a burial have to fit beside them.
MOST_HEADERS = 32 * 1024
# What the server, a burial and a replay say, in whatever case: nobody else's words are taken for theirs.
_OURS = ("nats-", "dlq-", "replay-")
# The server counts to this.
MOST_SEQ = 2**63 - 1
_ORIGIN = re.compile(r"[A-Za-z0-9_-]{1,64}/[0-9]{1,19}")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """seq: its own in DLQ. stream, stream_seq, subject: of the original. payload: None if only a reference is kept.

    headers: of the original, as far as they can be published again. of: stream and sequence of what the original is a
    replay of, or of the original itself. A number that can't be read is 0.
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
    """What is read of JetStream's advisory that deliveries ran out; its subject says of which consumer."""

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
    """Headers of a dead letter: the original's, and why it was given up. Its id lets JetStream drop a second burial."""
    given = headers or {}
    return kept(given) | {
        "Nats-Msg-Id": f"{service}/{stream}/{seq}",
        "Dlq-Reason": plain(redact(reason))[:MOST_HEADER],
        "Dlq-Stream": stream,
        "Dlq-Seq": str(seq),
        "Dlq-Subject": subject,
        "Dlq-Deliveries": str(deliveries),
        "Dlq-Time": rfc3339(dt.datetime.now(dt.UTC)),
        "Dlq-Msg-Id": given.get("Nats-Msg-Id", "")[:MOST_HEADER],
        "Dlq-Of": origin(stream, seq, given),
    }


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers of a message that can be published with it again, as many as fit."""
    found: dict[str, str] = {}
    room = MOST_HEADERS
    for name, value in headers.items():
        room -= len(name) + len(value.encode(errors="replace"))
        if room >= 0 and _HEADER.fullmatch(name) and len(value) <= MOST_HEADER and not name.lower().startswith(_OURS):
            found[name] = value
    return found


def origin(stream: str, seq: int, headers: Mapping[str, str]) -> str:
    """`<stream>/<seq>` of what a message is a replay of, or of the message itself.

    A replay comes later in the same stream. So what says that it is one of another stream, or of what is still to
    come, is taken for itself: it can't take away the id of another's result.
    """
    said = headers.get(REPLAY_OF, "")
    of, _, number = said.rpartition("/")
    is_earlier = bool(_ORIGIN.fullmatch(said)) and of == stream and 0 < int(number) < seq
    return said if is_earlier else f"{stream}/{seq}"


def read(seq: int, subject: str, headers: Mapping[str, str] | None, payload: bytes) -> DeadLetter:
    """A stored message of DLQ: a burial by a worker, or JetStream's advisory that deliveries ran out.

    Whatever it holds can be read: what it lacks is empty, or 0.
    """
    if subject.startswith(f"{names.MAX_DELIVERIES}."):
        return _advised(seq, subject, payload)
    given = headers or {}
    stream, stream_seq = _short(given, "Dlq-Stream"), _number(given.get("Dlq-Seq", ""))
    return DeadLetter(
        seq=seq,
        service=subject.removeprefix("dlq."),
        reason=_short(given, "Dlq-Reason") or "unknown",
        stream=stream,
        stream_seq=stream_seq,
        subject=_short(given, "Dlq-Subject"),
        deliveries=_number(given.get("Dlq-Deliveries", "")),
        time=_short(given, "Dlq-Time"),
        headers=kept(given),
        payload=payload if given.get("Dlq-Payload") != "absent" else None,
        of=origin(stream, stream_seq, {REPLAY_OF: given.get("Dlq-Of") or given.get(REPLAY_OF, "")}),
    )


def _advised(seq: int, subject: str, payload: bytes) -> DeadLetter:
    stream, _, consumer = subject.removeprefix(f"{names.MAX_DELIVERIES}.").partition(".")
    try:
        said = msgspec.json.decode(payload, type=_Advisory)
        reason = f"delivered {said.deliveries} times without an answer: its workers died or hung on it"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said, reason = _Advisory(), "JetStream's advisory can't be read"
    return DeadLetter(
        seq=seq,
        service=catalog.service_of(consumer),
        reason=reason,
        stream=stream,
        stream_seq=said.stream_seq,
        subject="",
        deliveries=said.deliveries,
        time=said.timestamp[:MOST_HEADER],
        headers={},
        payload=None,
        of=f"{stream}/{said.stream_seq}",
    )


def with_original(letter: DeadLetter, subject: str, headers: Mapping[str, str], payload: bytes) -> DeadLetter:
    """The letter with what its stream holds, in place of what it says itself."""
    of = origin(letter.stream, letter.stream_seq, headers)
    return msgspec.structs.replace(letter, subject=subject, headers=kept(headers), payload=payload, of=of)


def replay_headers(letter: DeadLetter) -> dict[str, str]:
    """Headers for publishing a dead letter to its subject again, for its service alone."""
    return letter.headers | {
        REPLAY_FOR: letter.service,
        REPLAY_OF: letter.of,
        # A letter that is replayed twice within the stream's window is stored once.
        "Nats-Msg-Id": f"replay/{letter.service}/{letter.of}/{letter.seq}",
    }


def _short(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "")[:MOST_HEADER]


def _number(text: str) -> int:
    """A number that the server may have given; 0 for anything else."""
    return min(int(text), MOST_SEQ) if re.fullmatch("[0-9]{1,19}", text) else 0
