"""`tidegate erase`: after it no store has anything of the camera, nor its bytes, and others have all of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared import bus
from shared.contract import names, topology
from shared.runtime.errors import SettingError
from tests.support.waiting import patience_s
from tests.support.worlds.erasing_world import Placed, at, everything, fill, found
from tidegate.erasing import passes, table
from tidegate.erasing.passes import Outcome
from tidegate.erasing.scope import Scope
from tidegate.erasing.stores import Plan
from tidegate.local.server import NatsServer

# Their names share a prefix, or a part, with the camera that is erased.
OTHERS = ("lobby2", "lobby-2", "lob")


@pytest_asyncio.fixture
async def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NatsServer]:
    """A server whose files can be searched: EVENTS and ALERTS are compressed, all others are not."""
    monkeypatch.setenv("STORE_ENCRYPTION", "off")
    async with NatsServer(tmp_path / "plain") as server:
        client = await bus.connect(server.settings("admin"), "admin")
        await topology.apply(client.jetstream(), topology.TopologySettings())
        await client.close()
        yield server


@pytest_asyncio.fixture
async def plain_admin(plain: NatsServer) -> AsyncIterator[Client]:
    client = await bus.connect(plain.settings("admin"), "admin")
    yield client
    await client.close()


def tell(text: str) -> None:
    pass


async def erase(client: Client, scope: Scope, *, settings: bool = True, dry_run: bool = False) -> Outcome:
    plan = Plan(scope, dry_run=dry_run, despite_hold=False, settings=settings and scope.is_whole)
    if dry_run:
        return await passes.count(client, plan, tell)
    return await passes.erase(client, plan, tell, in_flight_s=0.0)


async def flushed(folder: Path, markers: list[Placed]) -> None:
    """Wait until the server has written all of it, and ALERTS has its copies."""
    async with asyncio.timeout(patience_s()):
        while set(markers) - found([folder], markers):
            await asyncio.sleep(0.05)


async def test_nothing_of_a_camera_is_left_in_any_store_or_file(plain: NatsServer, plain_admin: Client) -> None:
    markers = [one for second in range(3) for one in await fill(plain_admin, "lobby", second)]
    others = [one for camera in OTHERS for one in await fill(plain_admin, camera)]
    # Only the last entry of a key is stored.
    markers = [
        one for n, one in enumerate(markers) if not one.store.startswith(("KV", "PICT")) or n >= len(markers) / 3 * 2
    ]
    await flushed(plain.store, [*markers, *others])
    before = await everything(plain_admin, OTHERS)
    outcome = await erase(plain_admin, Scope("lobby"))
    assert not outcome.problems
    assert not any(part for part in (await everything(plain_admin, ["lobby"])).values())
    assert found([plain.store], markers) == set()
    assert await everything(plain_admin, OTHERS) == before
    assert found([plain.store], others) == set(others)
    erased = {name: one.number for name, one in outcome.results.items() if one.number}
    assert (
        erased[names.MEDIA] == 6 and erased[names.DLQ] == 3 and erased[names.EVENTS] == 21 and erased[names.ALERTS] == 6
    )


async def test_an_encrypted_store_is_empty_and_never_had_the_bytes(server: NatsServer, admin: Client) -> None:
    markers = await fill(admin, "lobby")
    outcome = await erase(admin, Scope("lobby"))
    assert not outcome.problems and not any((await everything(admin, ["lobby"])).values())
    assert found([server.store], markers) == set()


async def test_a_range_takes_what_shows_any_of_it(admin: Client) -> None:
    for second in range(5):
        await fill(admin, "lobby", second)
    before = await everything(admin, ["lobby"])
    outcome = await erase(admin, Scope("lobby", at(1.5), at(3)))
    after = await everything(admin, ["lobby"])
    # A second begins before the range and ends in it, another one is within it.
    for stream in (names.DLQ, names.VLM, names.BACKFILL):
        assert [len(before[stream]), len(after[stream])] == [5, 3], stream
    # Of both streams of the camera.
    assert [len(before[names.MEDIA]), len(after[names.MEDIA])] == [10, 6]
    # Only entries of the present state go: settings stay.
    for bucket in (names.CAMERAS, names.RULES, names.CREDENTIALS, names.RECORDINGS):
        assert after[f"KV_{bucket}"] == before[f"KV_{bucket}"]
    assert not outcome.problems


async def test_a_dry_run_counts_and_changes_nothing(admin: Client) -> None:
    await fill(admin, "lobby")
    before = await everything(admin, ["lobby"])
    counted = await erase(admin, Scope("lobby"), dry_run=True)
    assert await everything(admin, ["lobby"]) == before
    erased = await erase(admin, Scope("lobby"))
    assert {n: r.number for n, r in counted.results.items()} == {n: r.number for n, r in erased.results.items()}
    assert set(counted.results) <= set(table.every())


async def test_it_is_completed_after_an_interruption(admin: Client) -> None:
    for second in range(20):
        await fill(admin, "lobby", second)
    interrupted = asyncio.create_task(erase(admin, Scope("lobby")))
    while len((await everything(admin, ["lobby"]))[names.MEDIA]) > 10:
        await asyncio.sleep(0)
    interrupted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await interrupted
    assert not (await erase(admin, Scope("lobby"))).problems
    assert not any((await everything(admin, ["lobby"])).values())


@pytest.mark.slow
async def test_results_of_what_was_in_flight_are_erased_too(admin: Client) -> None:
    await fill(admin, "lobby")
    plan = Plan(Scope("lobby"), dry_run=False, despite_hold=False, settings=True)
    erasing = asyncio.create_task(passes.erase(admin, plan, tell, in_flight_s=3.0))
    while (await everything(admin, ["lobby"]))[names.EVENTS]:
        await asyncio.sleep(0.05)
    await fill(admin, "lobby", 1)
    outcome = await erasing
    assert not outcome.problems and outcome.passes > 2
    assert not any((await everything(admin, ["lobby"])).values())


async def test_a_bucket_of_an_earlier_version_is_emptied_and_says_what_stays(admin: Client) -> None:
    js = admin.jetstream()
    config = (await js.stream_info("KV_scenes")).config
    await js.delete_stream("KV_scenes")
    await js.add_stream(config.evolve(deny_delete=True))
    await fill(admin, "lobby")
    outcome = await erase(admin, Scope("lobby"))
    assert "an earlier version created this bucket" in outcome.results["KV scenes"].remark
    assert not outcome.problems and not any((await everything(admin, ["lobby"])).values())


async def test_services_that_may_have_something_and_do_not_answer_are_a_problem(admin: Client) -> None:
    await fill(admin, "lobby")
    await admin.jetstream().publish("$KV.recorder.camera.lobby", b"{}")
    puller = await admin.jetstream().pull_subscribe_bind("search", names.EVENTS)
    await puller.fetch(1)
    outcome = await erase(admin, Scope("lobby"))
    recorder, search = outcome.problems
    assert "tidegate up --record" in recorder and "tidegate up --search" in search
    # The entry says that there may be files.
    assert (await everything(admin, ["lobby"]))["KV_recorder"]


async def test_a_camera_that_runs_or_is_held_is_refused(admin: Client) -> None:
    js = admin.jetstream()
    await js.publish("$KV.cameras.lobby", b'{"url": "rtsp://10.0.0.7/1"}')
    with pytest.raises(SettingError, match="'tidegate camera disable lobby' stops it, --remove"):
        await passes.check(admin, Scope("lobby"), remove=False, despite_hold=False)
    assert await passes.check(admin, Scope("lobby"), remove=True, despite_hold=False)
    assert not await passes.check(admin, Scope("lobby", at(0)), remove=False, despite_hold=False)
    await js.publish("$KV.cameras.lobby", b'{"url": "rtsp://10.0.0.7/1", "enabled": false}')
    assert not await passes.check(admin, Scope("lobby"), remove=False, despite_hold=False)
    for key in ("default", "group.doors", "camera.lobby"):
        await js.publish(f"$KV.recordings.{key}", b'{"hold": true, "cameras": ["lobby"]}')
        with pytest.raises(SettingError, match="--despite-hold"):
            await passes.check(admin, Scope("lobby"), remove=True, despite_hold=False)
        assert await passes.check(admin, Scope("lobby"), remove=True, despite_hold=True)
        await js.publish(f"$KV.recordings.{key}", b"{}")
