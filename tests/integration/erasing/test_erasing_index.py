"""A camera's rows leave the index, and every file of it; other cameras are found as before."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.search import chunk
from shared.models import vectors
from tests.support.worlds.erasing_world import bytes_found
from tests.support.worlds.search_world import at, detected, embedded, encoder, find, rows, scene, searching, settled
from tidegate.erasing import passes
from tidegate.erasing.passes import Outcome
from tidegate.erasing.scope import Scope
from tidegate.erasing.stores import Plan
from tidegate.erasing.table import INDEX
from tidegate.local.server import NatsServer

OTHERS = ("lobby2", "lobby-2")


async def erase(client: Client, scope: Scope) -> Outcome:
    plan = Plan(scope, dry_run=False, despite_hold=False, settings=False)
    return await passes.erase(client, plan, lambda text: None, in_flight_s=0.0)


async def fill(client: Client, most: int = 30) -> list[bytes]:
    """Vectors and a label of each second of three cameras. Return the bytes of lobby's vectors."""
    found = []
    # Ids end with a camera and a second: lobby's second 25 and lobby2's second 5 would be one.
    for second in range(100, 100 + most):
        for camera in ("lobby", *OTHERS):
            vector = scene(second % 3, zlib.crc32(f"{camera}{second}".encode()))
            await embedded(client, camera, second, vector)
            await detected(client, camera, second, [(f"{camera}{second}", 0.9)])
            if camera == "lobby":
                found.append(vectors.pack(vector))
    return found


async def test_nothing_of_a_camera_is_found_nor_in_a_file(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    async with searching(server, folder), encoder(server, {"it": scene(0)}):
        markers = await fill(admin)
        await settled(admin)
        assert bytes_found([folder], markers) == set(markers)
        before = [await find(admin, text="it", cameras=[camera], k=50) for camera in OTHERS]
        outcome = await erase(admin, Scope("lobby"))
        assert not outcome.problems and outcome.results[INDEX].number == 60
        assert (await find(admin, text="it", cameras=["lobby"])).moments == []
        assert (await find(admin, vocabulary=True, cameras=["lobby"])).vocabulary == []
        assert bytes_found([folder], markers) == set()
        after = [await find(admin, text="it", cameras=[camera], k=50) for camera in OTHERS]
        assert [f.moments for f in after] == [f.moments for f in before]
        # It goes on.
        await embedded(admin, "lobby2", 999, scene(0))
        await settled(admin)
    assert rows(folder) == 121


async def test_a_range_of_a_camera(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with searching(server, tmp_path), encoder(server, {"it": scene(0)}):
        await fill(admin, 12)
        await settled(admin)
        outcome = await erase(admin, Scope("lobby", at(103.5), at(106)))
        assert outcome.results[INDEX].number == 6
        left = await find(admin, vocabulary=True, cameras=["lobby"])
        assert set(left.vocabulary or ()) == {f"lobby{n}" for n in range(100, 112) if n not in (103, 104, 105)}
        assert len((await find(admin, vocabulary=True)).vocabulary or ()) == 33


@pytest.mark.slow
async def test_the_index_of_vectors_is_built_again(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk, "TUNING", chunk.ChunkTuning(exact=10, fresh=20, most_files=2))
    async with searching(server, tmp_path, search_tidy_s=0.1), encoder(server, {"it": scene(0)}):
        await fill(admin, 60)
        await settled(admin)
        assert not (await erase(admin, Scope("lobby"))).problems
        assert (await find(admin, text="it", cameras=["lobby"])).moments == []
        assert (await find(admin, text="it", cameras=["lobby2"])).moments
