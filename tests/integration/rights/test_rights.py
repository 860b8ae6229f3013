"""No identity gets further than its rights with any message: the attacks are real, and the effect decides.

The attempts come from the catalog, so that a new service attacks and is attacked. The rights of each identity are in
rights.json, which is reviewed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import nats.js.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import KeyValueConfig

from shared import bus
from shared.contract import catalog, names, topology
from shared.contract.rights import accounts
from shared.contract.rights.identities import Rights
from tests.support.servers import raw_messages as raw
from tests.support.waiting import patience_s
from tests.support.worlds import attacks
from tests.support.worlds.attacks import Try, example, matches, may_publish
from tidegate.local import tenants
from tidegate.local.server import NatsServer

IDENTITIES = [identity for identity in attacks.PERMISSIONS if identity != "admin"]
SECRET = b"operator:S3cretPass"


class World:
    """A server with a message in each stream, and every identity subscribed to all it may receive."""

    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.clients: dict[str, Client] = {}
        self.heard: list[tuple[str, Msg]] = []

    async def begin(self) -> None:
        self.admin = await self._connect("admin")
        self.js = self.admin.jetstream(timeout=patience_s())
        taken = [f for _, c in topology.consumers(attacks.LIMITS) for f in c.filter_subjects or [c.filter_subject]]
        taken += [subject for r in attacks.READERS for subject in r.subjects]
        keys = ["$KV.leases.camera.lobby", "$KV.partitions.partition.1"]
        for subject in [*attacks.streams().values(), *map(example, taken), *keys]:
            await self.js.publish(subject, SECRET)
        # Each has a message in flight, which a foreign acknowledgement would lose.
        for stream, consumer in attacks.consumers():
            pull = await self.js.pull_subscribe_bind(consumer, stream)
            await pull.fetch(1, timeout=5)
        for identity in IDENTITIES:
            self.clients[identity] = client = await self._connect(identity)
            for pattern in attacks.PERMISSIONS[identity]["subscribe"]:
                await client.subscribe(pattern, cb=self._listener(identity, client))
            await client.flush()
        await self.admin.subscribe(">", cb=self._listener("admin", self.admin))
        await self.admin.flush()

    async def close(self) -> None:
        for client in (*self.clients.values(), self.admin):
            await client.close()

    async def _connect(self, identity: str) -> Client:
        async def ignore(error: Exception) -> None:
            """Ignore refusals of the server: only the effect counts."""

        s = self.server.settings(identity)
        return await nats.connect(
            s.nats_url,
            user=s.nats_user,
            password=s.nats_password,
            inbox_prefix=f"_INBOX_{identity}".encode(),
            error_cb=ignore,
            pending_size=64 * 1024 * 1024,
        )

    def _listener(self, identity: str, client: Client) -> Any:
        rights = attacks.RIGHTS.get(identity, Rights())
        answered = (*rights.answered, *rights.collected) if identity in attacks.RIGHTS else by_commands()

        async def listen(message: Msg) -> None:
            # The server itself copies ALERTS by this, and sends a heartbeat once a second.
            if not (identity == "admin" and message.subject.startswith("$JS.S.")):
                self.heard.append((identity, message))
            if message.reply and any(matches(pattern, message.subject) for pattern in answered):
                # As a service answers an unreadable request: with an error that repeats its start.
                await client.publish(message.reply, b"answer " + message.data[:20])

        return listen

    async def attack(self, identity: str, tries: Iterable[Try]) -> int:
        """Send all of them; return their number, once the server has processed them."""
        client = self.clients[identity]
        sent = await attacks.send(client, tries)
        for other in (*self.clients.values(), self.admin, client, self.admin):
            await other.flush(timeout=60)
        return sent


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Two readers and all identities. Apps subscribe as often as services, so they try more than their rights.

    Rightfully pulled messages are not redelivered during a test: the server itself would report that in DLQ.
    """
    monkeypatch.setattr(catalog, "ACK_WAIT_S", 3600.0)
    for fewer in ("APP_LIMITS", "READER_LIMITS"):
        monkeypatch.setattr(accounts, fewer, accounts.LIMITS)
    tenants.put(tmp_path / "nats/secrets", attacks.TENANT)
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(admin.jetstream(), attacks.LIMITS)
        await topology.apply_consumers(admin.jetstream(), attacks.LIMITS, [r.consumer for r in attacks.READERS])
        await admin.close()
        found = World(server)
        await found.begin()
        yield found
        await found.close()


def by_commands() -> tuple[str, ...]:
    """Subjects of requests that commands answer, not services; commands run as `admin`."""
    every = attacks.RIGHTS.values()
    services = {subject for rights in every for subject in (*rights.answered, *rights.collected)}
    return tuple({subject for rights in every for subject in rights.requests} - services)


def changed(identity: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Changes of the store that the identity's rights forbid."""
    for name in before.keys() | after.keys():
        if name not in before or name not in after:
            yield f"{name} {'is new' if name in after else 'is gone'}"
        elif " " in name:
            if not may_publish(identity, f"$JS.ACK.{name.replace(' ', '.')}.x") and before[name] != after[name]:
                yield f"consumer {name} was {before[name]}, is {after[name]}"
        else:
            (config, messages), (config_after, messages_after) = before[name], after[name]
            if config != config_after:
                yield f"{name} is set up otherwise: {config_after}"
            # A bucket has the last of each key, and a key has one writer; so has PICTURES of each subject.
            has_last = name.startswith("KV_") or name == names.PICTURES
            latest = {subject for _, subject, _ in messages_after} if has_last else set()
            for missing in [m for m in messages if m not in messages_after and m[1] not in latest]:
                yield f"{missing} of {name} is gone"
            for new in [m for m in messages_after if m not in messages]:
                if not may_publish(identity, new[1]):
                    yield f"{new} of {name} is forged"


def reached(identity: str, heard: Iterable[tuple[str, Msg]]) -> Iterator[str]:
    """Messages that others received on subjects forbidden to the identity, and direct answers to it."""
    reply = ("_R_.", "$JS.EVENT.ADVISORY.")
    for who, message in heard:
        subject = message.subject
        if subject == f"_INBOX_{identity}.direct":
            if (message.headers or {}).get("Status") != "503":
                yield f"{identity} read {message.data[:60]!r} on {subject}"
            continue
        if who == identity:
            continue
        source = subject.removeprefix("stored.")  # the server's report of a stored message
        if source.startswith("changes."):
            source = f"$KV.{source.removeprefix('changes.')}"
        # The server's delivery of rightful pulls: its subject is the message's own.
        pulled = message.reply.startswith("$JS.ACK.") and may_publish(identity, message.reply)
        if not may_publish(identity, source) and not pulled and not subject.startswith(reply):
            yield f"{who} heard {subject} {message.data[:60]!r} {message.reply}"


@pytest.mark.slow
@pytest.mark.parametrize("identity", IDENTITIES)
async def test_no_identity_reaches_beyond_its_rights(world: World, identity: str) -> None:
    for kind, tries in (
        ("direct", attacks.direct(identity, f"_INBOX_{identity}.direct")),
        ("by reply", attacks.by_reply(identity)),
        ("by header", attacks.by_header(identity)),
    ):
        before = await attacks.state(world.js)
        world.heard.clear()
        sent = await world.attack(identity, tries)
        heard = list(world.heard)
        found = [*changed(identity, before, await attacks.state(world.js)), *reached(identity, heard)]
        counts = Counter(text[:150] for text in found)
        assert not found, (
            f"{kind}: {len(found)} effects of {sent} tries: {json.dumps(counts.most_common(12), indent=1)}"
        )


async def test_no_block_of_headers_ends_the_server(world: World) -> None:
    """A block of one byte ends nats-server if its stream republishes; a client of the same account may send it."""
    for identity, client in world.clients.items():
        for subject in map(example, attacks.PERMISSIONS[identity]["publish"]):
            for headers in raw.BLOCKS:
                await raw.send(client, subject.encode(), headers, b"x")
        await world.admin.flush()
        assert not world.server.has_died, identity


async def test_no_identity_hears_beyond_its_rights(world: World) -> None:
    """By any subscription, also as a member of a queue group, which would take messages from others."""
    heard: dict[str, set[str]] = {identity: set() for identity in IDENTITIES}

    def listener(subjects: set[str]) -> Any:
        async def listen(message: Msg) -> None:
            subjects.add(message.subject)

        return listen

    subjects = attacks.subjects()
    wildcards = (">", "*", "*.>", "$JS.>", "$KV.>", "changes.>", "stored.>", "svc.>", "$SRV.>", "_R_.>")
    for identity, client in world.clients.items():
        for subject in (*subjects, *wildcards):
            await client.subscribe(subject, cb=listener(heard[identity]))
            # A group of its own: in a common one each member would hide messages from the others.
            await client.subscribe(subject, queue=identity, cb=listener(heard[identity]))
        await client.flush()
    for speaker in (world.admin, *world.clients.values()):
        for subject in subjects:
            await speaker.publish(subject, SECRET)
        await speaker.flush()
    for client in (*world.clients.values(), world.admin, *world.clients.values()):
        await client.flush()
    wrong = {
        f"{identity} hears {subject}"
        for identity, all_heard in heard.items()
        for subject in all_heard
        if not any(matches(pattern, subject) for pattern in attacks.PERMISSIONS[identity]["subscribe"])
    }
    assert not wrong
    assert any(heard.values())


async def test_every_right_works(world: World) -> None:
    """Each subject that an identity may publish to reaches its responder, and the answer comes back."""
    absent = [f"{c.stream}.{c.name}" for s in catalog.services() for c in s.consumers if c.when]
    failed = []
    for identity, client in world.clients.items():
        rights = attacks.RIGHTS[identity]
        for subject in map(example, (*rights.api, *rights.stored, *rights.requests)):
            if subject.endswith(tuple(absent)):
                continue
            bodies = {".MSG.NEXT.": b'{"batch": 1, "no_wait": true}', ".INFO.": b""}
            body = next((b for part, b in bodies.items() if part in subject), b'{"seq": 1}')
            if ".DIRECT.GET." in subject and subject.count(".") > 4:  # the subject has the message's number
                body = b""
            # A pulled message has its own subject, not that of the request.
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            await client.publish(subject, body, inbox)
            answer = await answers.next_msg(timeout=patience_s())
            await answers.unsubscribe()
            status = (answer.headers or {}).get("Status", "")
            empty = (b"consumer not found", b"no message found")
            is_error = b'"error"' in answer.data and not any(text in answer.data for text in empty)
            if status not in ("", "404", "408") or is_error:
                failed.append((identity, subject, answer.headers, answer.data))
    assert not failed


async def test_no_identity_can_use_up_anothers_id(server: NatsServer, admin: Client) -> None:
    """JetStream deduplicates by `Nats-Msg-Id` alone, across subjects: a real result would be lost, and acknowledged."""
    cv = await bus.connect(server.settings("cv"), "cv")
    embed = await bus.connect(server.settings("embed"), "embed")
    id = {"Nats-Msg-Id": "cv/ssd/MEDIA/7"}
    raw = await nats.connect(
        server.url, user="embed", password=server.settings("embed").nats_password, inbox_prefix=b"_INBOX_embed"
    )
    try:
        await raw.jetstream().publish("events.embeddings.lobby", b"ahead", headers=id)
        await bus.publish(embed, embed.jetstream(), "events.embeddings.lobby", b"ahead", id)
        first = await bus.publish(cv, cv.jetstream(), "events.detections.lobby", b"result", id)
        again = await bus.publish(cv, cv.jetstream(), "events.detections.lobby", b"result", id)
    finally:
        for client in (cv, embed, raw):
            await client.close()
    assert not first.duplicate and again.duplicate and first.seq == again.seq
    assert (await admin.jetstream().get_last_msg("EVENTS", "events.detections.lobby")).data == b"result"


async def test_replicas_agree_on_ids(server: NatsServer) -> None:
    """They share a password, or a key: a message that one stored without acknowledging is a duplicate for the next."""
    settings = server.settings("cv")
    keyed = msgspec.structs.replace(settings, nats_msg_id_key="k")
    acks = []
    for mine in (settings, settings, keyed, keyed):
        client = await bus.connect(mine, "cv")
        acks.append(await bus.publish(client, client.jetstream(), "events.detections.x", b"r", {"Nats-Msg-Id": "1"}))
        await client.close()
    assert [bool(ack.duplicate) for ack in acks] == [False, True, False, True]


async def test_setup_takes_rollups_from_a_store_of_an_older_version(admin: Client) -> None:
    """Version 0.1.0 created buckets as nats-py does; a header of any writer could wipe their keys."""
    js = admin.jetstream()
    limits = topology.TopologySettings()
    for bucket in topology.buckets(limits):
        await js.delete_stream(f"KV_{bucket}")
        if bucket != names.PARTITIONS:
            ttl = 5.0 if bucket == names.LEASES else None
            await js.create_key_value(KeyValueConfig(bucket=bucket, history=1, direct=True, ttl=ttl))
    cameras = await js.key_value(names.CAMERAS)
    await cameras.put("lobby", b"kept")
    done = await topology.apply(js, limits)
    assert sorted(done) == sorted(
        f"bucket {bucket} {'created' if bucket == names.PARTITIONS else 'updated'}"
        for bucket in topology.buckets(limits)
    )
    assert await topology.apply(js, limits) == []
    with pytest.raises(nats.js.errors.APIError, match="rollup not permitted"):
        await js.publish("$KV.cameras.lobby", b"", headers={"Nats-Rollup": "all"})
    assert (await cameras.get("lobby")).value == b"kept"


async def test_only_admin_creates_or_deletes_anything() -> None:
    """Of the requests to JetStream that change something, no other identity has any but the console's two.

    A camera's old password and an applied site file's journal are overwritten on disk; a replayed dead letter is
    removed.
    """
    deletes = {
        ("console-operator", f"STREAM.MSG.DELETE.KV_{names.CREDENTIALS}"),
        ("console-admin", f"STREAM.MSG.DELETE.KV_{names.CREDENTIALS}"),
        ("console-admin", f"STREAM.MSG.DELETE.KV_{names.SITE}"),
        ("console-admin", f"STREAM.MSG.DELETE.{names.DLQ}"),
    }
    harmless = ("STREAM.INFO.", "STREAM.MSG.GET.KV_", "CONSUMER.INFO.", "CONSUMER.MSG.NEXT.", "DIRECT.GET.")
    for identity in IDENTITIES:
        for subject in attacks.PERMISSIONS[identity]["publish"]:
            request = subject.removeprefix(f"{names.IMPORTED_API}.")
            existing = request == subject or request.startswith(harmless) or (identity, request) in deletes
            assert existing, (identity, subject)
            assert subject not in (">", "*") and not subject.startswith(("$JS.API", "$SYS"))
