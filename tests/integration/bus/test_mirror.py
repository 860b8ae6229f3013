"""The live copy of a bucket: its entries during a read, and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared.bus import mirror as mirrors
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.bus.mirror import Mirror, mirror
from shared.contract import names
from shared.runtime.tasks import end
from tests.support.waiting import until


@pytest_asyncio.fixture
async def copy(admin: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mirror]:
    """A mirror of the leases that reads the bucket again all the time."""
    monkeypatch.setattr(mirrors, "_RESYNC_S", 0.05)
    kv = await admin.jetstream().key_value(names.LEASES)
    for key in ("kept", "written", "deleted"):
        await kv.put(key, b"before")
    one = await mirror(admin, names.LEASES, asyncio.Event())
    following = asyncio.create_task(one.run())
    await one.ready.wait()
    yield one
    await end(following)


async def test_an_update_during_a_read_is_applied_immediately_and_stays(
    admin: Client, copy: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a hung server delayed updates for seconds. A read may be older than an update."""
    kv = await admin.jetstream().key_value(names.LEASES)
    requests, answered, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    read = Log.all

    async def slowly(self: Log, subject: str) -> list[Stored]:
        found = await read(self, subject)
        if requests.is_set():
            done.set()
            return found
        requests.set()
        await answered.wait()
        return found

    monkeypatch.setattr(Log, "all", slowly)
    await requests.wait()
    await kv.put("written", b"after")
    await kv.put("new", b"after")
    await kv.delete("deleted")
    expected = {"kept": b"before", "written": b"after", "new": b"after"}
    await until(lambda: copy.values == expected)
    seen = dict(copy.seen)
    answered.set()
    await done.wait()
    assert copy.values == expected and copy.is_deleted("deleted")
    assert copy.seen == seen, "nobody has been away"


async def test_a_mirror_of_a_recreated_bucket_has_its_entries(admin: Client, copy: Mirror) -> None:
    """Revisions of the new bucket count from 1 again."""
    js = admin.jetstream()
    config = (await js.stream_info("KV_leases")).config
    await js.delete_stream("KV_leases")
    await js.add_stream(config)
    await (await js.key_value(names.LEASES)).put("kept", b"anew")
    await until(lambda: copy.values == {"kept": b"anew"} and copy.revision("kept") == 1)
