"""All writes of a service have a limit: one password fills neither the disk nor the memory of mirroring processes."""

from __future__ import annotations

import pytest
from nats.js.errors import APIError

from shared import bus
from shared.contract import names, topology
from shared.contract.rights import identities
from shared.contract.topology import ENTRIES_BYTES, ENTRY_BYTES, MB, TopologySettings
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


def test_every_stream_that_an_identity_writes_has_a_limit() -> None:
    s = TopologySettings()
    streams = {str(c.name): c for c in [*topology.streams(s), *topology.buckets(s).values()]}
    written = [p for name, rights in identities.permissions().items() if name != "admin" for p in rights["publish"]]
    for name, config in streams.items():
        if any(names.overlap(subject, pattern) for subject in config.subjects or [] for pattern in written):
            limits = [config.max_bytes or 0, (config.max_msgs or 0) * (config.max_msg_size or 0)]
            assert min((limit for limit in limits if limit > 0), default=None) is not None, name
            assert min(limit for limit in limits if limit > 0) <= 10 * 1024 * MB, name


@pytest.mark.parametrize("bucket", ENTRY_BYTES)
async def test_a_bucket_of_settings_takes_no_large_entry(server: NatsServer, bucket: str) -> None:
    client = await bus.connect(server.settings("admin"), "admin")
    js = client.jetstream(timeout=patience_s())
    config = (await js.stream_info(f"KV_{bucket}")).config
    assert (config.max_bytes, config.max_msg_size) == (ENTRIES_BYTES, ENTRY_BYTES[bucket])
    with pytest.raises(APIError, match="message size exceeds maximum"):
        await js.publish(f"$KV.{bucket}.lobby", bytes(ENTRY_BYTES[bucket] + 1))
    await client.close()


async def test_keys_of_an_operator_have_one_token(server: NatsServer) -> None:
    """Subjects of many tokens fill the server's memory."""
    client = await bus.connect(server.settings("console-operator"), "console-operator")
    for subject in ("$KV.rules.a.b", "$KV.cameras.a.b", "$KV.credentials.a.b", "$KV.rules.a.b.c.d"):
        await client.publish(subject, b"{}")
    await client.flush()
    await client.close()
    admin = await bus.connect(server.settings("admin"), "admin")
    for bucket in (names.RULES, names.CAMERAS, names.CREDENTIALS):
        assert (await admin.jetstream().stream_info(f"KV_{bucket}")).state.messages == 0
    await admin.close()
