"""Forged dead letters: a replay has all rights, and the service writes the content of a dead letter."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared import bus
from shared.bus.log import Log
from shared.client import dlq
from shared.contract import catalog, deadletters, names
from shared.contract.deadletters import DeadLetter, origin
from shared.runtime.errors import BusError
from tests.support.processes.command_line import COMMAND
from tests.support.servers import raw_messages as raw
from tidegate.local.server import NatsServer

SECRET = "operator:S3cretPass"


async def tidegate(server: NatsServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment("admin")
    return await asyncio.to_thread(
        subprocess.run, [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=240
    )


async def forge(server: NatsServer, service: str, headers: Mapping[str, str], payload: bytes = b"forged") -> DeadLetter:
    """Write a dead letter as a service's own identity."""
    identity = catalog.find(service).identity
    client = await bus.connect(server.settings(identity), identity)
    try:
        ack = await client.jetstream().publish(f"dlq.{service}", payload, headers=dict(headers))
    finally:
        await client.close()
    admin = await bus.connect(server.settings("admin"), "admin")
    try:
        letter = await dlq.find(admin, ack.seq)
    finally:
        await admin.close()
    assert letter is not None
    return letter


def advisory(subject: str, stream: str = names.MEDIA, seq: int | str = 1, **more: str) -> dict[str, str]:
    return {"Dlq-Stream": stream, "Dlq-Seq": str(seq), "Dlq-Subject": subject, "Dlq-Reason": "x"} | more


async def everything(admin: Client) -> dict[str, int]:
    """Number of messages of every stream except DLQ; buckets are streams too."""
    streams = [s for s in await admin.jetstream().streams_info() if s.config.name != names.DLQ]
    return {str(s.config.name): s.state.messages for s in streams}


# ---- the subject of a replay

BEYOND = (
    ("cv", "$KV.cameras.lobby", "KV_cameras"),
    ("cv", "$KV.cameras.lobby", names.MEDIA),
    ("cv", "$JS.API.STREAM.DELETE.MEDIA", names.MEDIA),
    ("cv", "jobs.vlm.ask.lobby", names.VLM),
    ("cv", "events.alerts.lobby", names.EVENTS),
    ("cv", "events.detections.lobby", names.EVENTS),
    ("cv", "dlq.vlm", names.DLQ),
    ("cv", "media.*", names.MEDIA),
    ("cv", "media.>", names.MEDIA),
    ("cv", "media.lobby events.alerts.lobby", names.MEDIA),
    ("cv", "media.", names.MEDIA),
    ("cv", "media..lobby", names.MEDIA),
    ("cv", "media.\u202elobby", names.MEDIA),
    ("cv", "", names.MEDIA),
    ("embed", "events.alerts.lobby", names.EVENTS),
    ("search", "events.alerts.lobby", names.EVENTS),
    ("webhook", "events.detections.lobby", names.EVENTS),
    ("vlm", "media.lobby", names.MEDIA),
    ("vlm", "jobs.vlm.ask.lobby", names.MEDIA),
    ("analytics", "events.detections.lobby", names.EVENTS),
    ("analytics", "jobs.vlm.verify.lobby", names.VLM),
)


@pytest.mark.parametrize(("service", "subject", "stream"), BEYOND)
async def test_a_dead_letter_leads_only_to_messages_of_its_service(
    server: NatsServer, admin: Client, service: str, subject: str, stream: str
) -> None:
    before = await everything(admin)
    letter = await forge(server, service, advisory(subject, stream))
    with pytest.raises(BusError, match="can't be replayed"):
        await dlq.replay(admin, letter)
    assert await everything(admin) == before


async def test_an_event_that_was_never_published_is_not_replayed(server: NatsServer, admin: Client) -> None:
    """Apps receive events: a writer of the webhook's dead letters must not make admin raise alarms."""
    js = admin.jetstream()
    true = await js.publish("events.alerts.lobby", b"true", headers={"ce-id": "1", "Nats-Msg-Id": "1"})
    other = await js.publish("events.tracks.lobby", b"not for it")
    missing = await js.publish("events.alerts.lobby", b"gone")
    await js.delete_msg(names.EVENTS, missing.seq)
    for seq in (true.seq, other.seq, missing.seq, 99, 0, -1, 2**63, "one"):
        letter = await forge(server, "webhook", advisory("events.alerts.lobby", names.EVENTS, seq))
        with pytest.raises(BusError, match="does not show that it was said"):
            await dlq.replay(admin, letter)
    # A published event is replayed as it was published, whatever else its dead letter has.
    given = advisory("events.alerts.lobby", names.EVENTS, true.seq) | {"ce-id": "forged", "X-More": "forged"}
    new = await dlq.replay(admin, await forge(server, "webhook", given, b"true"))
    stored = await js.get_msg(names.EVENTS, new, direct=True)
    assert stored.data == b"true" and stored.subject == "events.alerts.lobby"
    assert (stored.headers or {})["ce-id"] == "1" and "X-More" not in (stored.headers or {})


async def test_an_expired_segment_is_replayed_from_its_dead_letter(server: NatsServer, admin: Client) -> None:
    letter = await forge(
        server, "cv", advisory("media.lobby", seq=9) | {"Camera": "lobby", "traceparent": "t"}, b"video"
    )
    js = admin.jetstream()
    stored = await js.get_msg(names.MEDIA, await dlq.replay(admin, letter), direct=True)
    head = stored.headers or {}
    assert stored.data == b"video" and (head["Camera"], head["traceparent"]) == ("lobby", "t")
    assert (head["Replay-For"], head["Replay-Of"]) == ("cv", "MEDIA/9")
    with pytest.raises(NotFoundError):
        await js.get_msg(names.DLQ, letter.seq, direct=True)


# ---- the headers of a replay

FORGED = (
    *(b"Nats-Rollup: all", b"nats-rollup: all", b"NATS-ROLLUP: sub", b"Nats-Msg-Id: cv/m/MEDIA/7", b"nats-msg-id: x"),
    *(b"Nats-Trace-Dest: $KV.cameras.lobby", b"Nats-Expected-Last-Sequence: 99", b"Nats-Expected-Stream: VLM"),
    *(b"Nats-Schedule: @at 2030-01-01T00:00:00Z", b"Nats-Schedule-Target: events.alerts.lobby", b"NaTs-TTL: 1s"),
    *(b"Replay-For: embed", b"REPLAY-FOR: embed", b"replay-of: MEDIA/3", b"Dlq-More: x", b"DLQ-REASON: y"),
    *(
        b"od d: x",
        b"odd(: x",
        b"\xff\xfe: x",
        b"Odd\x00: x",
        b"Empty:",
        b"Long: " + b"x" * 5000,
        b"Bad: \xff\xfe\x1b[2J",
    ),
)
TRUE = (b"Dlq-Stream: MEDIA", b"Dlq-Seq: 9", b"Dlq-Subject: media.lobby", b"Camera: lobby")


async def test_a_replay_has_no_control_headers(admin: Client) -> None:
    js = admin.jetstream()
    remaining = [(await js.publish("media.lobby", b"%d" % n)).seq for n in range(3)]
    # Effects of a dead letter's own headers on DLQ are not tested here: here they are as they would be stored.
    headers = dict(line.decode(errors="replace").split(": ", 1) for line in (*TRUE, *FORGED) if b": " in line)
    for _ in range(5):
        await js.publish("dlq.cv", b"video")
    letter = deadletters.read(5, "dlq.cv", headers, b"video")
    stored = await js.get_msg(names.MEDIA, await dlq.replay(admin, letter), direct=True)
    given = {k: v for k, v in (stored.headers or {}).items() if k not in ANSWERED}
    assert set(given) == {"Camera", "Bad", "Nats-Msg-Id", "Replay-For", "Replay-Of"}
    assert given["Replay-For"] == "cv" and given["Replay-Of"] == "MEDIA/9"
    assert given["Nats-Msg-Id"] not in ("", "x", "cv/m/MEDIA/7")
    for seq in remaining:
        assert (await js.get_msg(names.MEDIA, seq, direct=True)).data


ANSWERED = {"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"}


async def test_every_dead_letter_of_the_wire_is_read_and_replayed(admin: Client) -> None:
    """One header at a time, as bytes: none of them blocks the listing or the replay of a dead letter."""
    harmless = [line for line in FORGED if not line.lower().startswith((b"nats-rollup", b"nats-exp", b"nats-sch"))]
    for line in harmless:
        await raw.store(admin, b"dlq.cv", raw.block([*TRUE, b"A: b", line]), b"video")
    found = [x async for x in dlq.entries(admin)]
    assert len(found) == len(harmless)
    for letter in found:
        assert (letter.stream, letter.stream_seq, letter.subject) == ("MEDIA", 9, "media.lobby")
        await dlq.replay(admin, letter)
    assert [x async for x in dlq.entries(admin)] == []


# ---- the id of a result

TAKEN_FOR_ITSELF = (
    "",
    "MEDIA",
    "MEDIA/",
    "MEDIA/0",
    "MEDIA/50",
    "MEDIA/51",
    "MEDIA/9999",
    "EVENTS/7",
    "MEDIA/-7",
    "MEDIA/7/7",
    "MEDIA/7\u0664",
    "MEDIA/\u0667",
    "MEDIA/ 7",
    "../MEDIA/7",
    "MEDIA/" + "7" * 20,
    "x" * 5000,
)


@pytest.mark.parametrize("forged", TAKEN_FOR_ITSELF)
def test_a_forged_replay_takes_no_other_results_id(forged: str) -> None:
    assert origin("MEDIA", 50, {"Replay-Of": forged}) == "MEDIA/50"
    letter = deadletters.read(
        1, "dlq.cv", advisory("media.lobby", seq=50) | {"Dlq-Of": forged, "Replay-Of": forged}, b""
    )
    assert deadletters.replay_headers(letter)["Replay-Of"] == "MEDIA/50"


def test_a_replay_of_a_replay_names_the_first_message() -> None:
    first = deadletters.dead_letter_headers(
        "cv", "x", stream="MEDIA", seq=50, subject="media.a", deliveries=1, headers={"Replay-Of": "MEDIA/7"}
    )
    letter = deadletters.read(1, "dlq.cv", first, b"")
    assert deadletters.replay_headers(letter)["Replay-Of"] == "MEDIA/7"
    assert origin("MEDIA", 80, deadletters.replay_headers(letter)) == "MEDIA/7"


# ---- the message of a dead letter

REFERENCES: tuple[dict[str, str], ...] = (
    advisory("$KV.credentials.lobby", "KV_credentials"),
    advisory("media.lobby", "KV_credentials"),
    advisory("", "KV_credentials"),
    advisory("media.lobby", "KV_credentials/../MEDIA"),
    advisory("media.lobby", "EVENTS"),
    advisory("media.lobby", "VLM"),
    advisory("media.lobby", "*"),
    advisory("media.lobby", "nowhere at all"),
    advisory("media.lobby", ""),
)


async def test_no_identity_reads_anothers_stream_by_a_dead_letter(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    await (await js.key_value(names.CREDENTIALS)).put("lobby", SECRET.encode())
    await js.publish("events.alerts.lobby", SECRET.encode())
    await js.publish("jobs.vlm.ask.lobby", SECRET.encode())
    for headers in REFERENCES:
        letter = await forge(server, "cv", headers | {"Dlq-Payload": "absent"}, b"")
        assert letter.payload is None
        with pytest.raises(BusError, match="can't be replayed"):
            await dlq.replay(admin, letter)
    for consumer in ("KV_credentials.cv", "EVENTS.cv", "EVENTS.search", "VLM.cv", "KV_credentials.x", "x", "a.b.c", ""):
        for stream in ("KV_credentials", "EVENTS", "VLM"):
            advisory_json = json.dumps({"stream": stream, "consumer": "cv", "stream_seq": 1, "deliveries": 5})
            subject = f"{names.MAX_DELIVERIES}.{consumer}".rstrip(".")
            await raw.store(admin, subject.encode(), raw.block([]), advisory_json.encode())
    found = [x async for x in dlq.entries(admin)]
    assert len(found) >= 9 + 21 and all(SECRET.encode() not in (x.payload or b"") for x in found)
    listed = await tidegate(server, "dlq", "list", "--json")
    assert listed.returncode == 0 and SECRET not in listed.stdout
    assert len(listed.stdout.splitlines()) == len(found)
    replayed = await tidegate(server, "dlq", "replay", "--all")
    assert replayed.returncode == 1 and "Traceback" not in replayed.stderr
    async with Log(admin, names.MEDIA) as log:
        assert await log.all(">") == []


async def test_a_deadly_message_is_read_from_the_stream_that_the_server_names(admin: Client) -> None:
    js = admin.jetstream()
    seq = (await js.publish("media.lobby", b"video", headers={"Camera": "lobby"})).seq
    lie: dict[str, Any] = {"stream": "KV_credentials", "consumer": "embed", "stream_seq": seq, "deliveries": 5}
    await js.publish(f"{names.MAX_DELIVERIES}.MEDIA.cv", json.dumps(lie).encode())
    (letter,) = [x async for x in dlq.entries(admin)]
    assert (letter.service, letter.stream, letter.subject, letter.payload) == ("cv", "MEDIA", "media.lobby", b"video")
    await dlq.replay(admin, letter)
