"""The foreign input of the command line: events, dead letters, heartbeats."""

from __future__ import annotations

import msgspec

from shared.contract import deadletters
from tests.fuzz import good, spoil
from tests.fuzz.delivery import NotDelivered, heard, stored
from tests.fuzz.door import Door
from tidegate.view.events import readable


def _watched(data: bytes) -> None:
    """Print an event as `tidegate watch` does."""
    readable(heard(data, "events.*.*")).encode()


def _letter(data: bytes) -> None:
    """Read a dead letter as `tidegate dlq` does, and replay it."""
    advisory = b"MAX_DELIVERIES" in data.partition(b"\n")[0]
    one = stored(data, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*" if advisory else "dlq.*")
    letter = deadletters.read(one.seq, one.subject, one.headers, one.data)
    msgspec.json.encode(msgspec.structs.replace(letter, payload=None))
    headers = deadletters.replay_headers(letter)
    assert all(v.isprintable() or "\n" not in v for v in headers.values())
    deadletters.dead_letter_headers(
        "cv", "x", stream="MEDIA", seq=1, subject=one.subject, deliveries=1, headers=one.headers
    )


def _letters() -> list[bytes]:
    segment = spoil.read_wire(good.segment_messages()[0])
    given = {line.partition(b": ")[0].decode(): line.partition(b": ")[2].decode() for line in segment[1]}
    head = deadletters.dead_letter_headers(
        "cv", "not a segment", stream="MEDIA", seq=7, subject="media.lobby", deliveries=1, headers=given
    )
    advisory = (
        b'{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"x","timestamp":"2026-11-24T13:00:00Z",'
        b'"stream":"MEDIA","consumer":"cv","stream_seq":7,"deliveries":5}'
    )
    return [
        spoil.wire(b"dlq.cv", [f"{k}: {v}".encode() for k, v in head.items()], b"video"),
        spoil.wire(b"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.MEDIA.cv", [], advisory),
    ]


DOORS = (
    Door("cli.watch", good.event_messages, _watched, (NotDelivered,), spoil.message(spoil.as_json)),
    Door("cli.letter", _letters, _letter, (NotDelivered,), spoil.message(spoil.as_json)),
)
