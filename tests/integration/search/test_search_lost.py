"""Search rebuilds a lost or unreadable index from EVENTS, and reports it."""

from __future__ import annotations

import asyncio
import errno
import shutil
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.search.lost import may_pass
from shared import bus
from shared.bus.requests import NobodyAnswers
from shared.contract import names, topology
from tests.support.files import contents
from tests.support.waiting import patience_s
from tests.support.worlds.search_world import detected, embedded, find, rows, scene, searching, settled
from tidegate.local.healing import Reindexing
from tidegate.local.server import NatsServer
from tidegate.local.stack import Stack


async def until_found(client: Client, hits: int) -> None:
    """Wait until the label has that many hits."""
    async with asyncio.timeout(patience_s()):
        while await _hits(client) != hits:
            await asyncio.sleep(0.1)


async def _hits(client: Client) -> int:
    try:
        return sum(moment.hits for moment in (await find(client, labels=["person"])).moments)
    except NobodyAnswers:
        return 0


def warnings_of(capfd: pytest.CaptureFixture[str]) -> str:
    return "".join(capfd.readouterr())


async def seen(admin: Client, second: int) -> None:
    await embedded(admin, "lobby", second, scene(second))
    await detected(admin, "lobby", second, [("person", 0.5)])


@pytest.mark.slow
async def test_under_up_earlier_events_are_found_again(tmp_path: Path) -> None:
    for n in range(2):
        async with Stack(tmp_path, {}, steady=["search"], port=0) as stack:
            finder = await bus.connect(stack.server.settings("finder"), "finder")
            try:
                await seen(stack.admin, n)
                await until_found(finder, n + 1)
            finally:
                await finder.close()
        shutil.rmtree(tmp_path / "index")


@pytest.mark.parametrize("lost", ["all", "a table", "its beginning"])
async def test_without_up_a_remedy_is_reported_and_new_events_are_indexed(
    server: NatsServer, admin: Client, tmp_path: Path, lost: str, capfd: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "index"
    await seen(admin, 0)
    async with searching(server, index):
        await settled(admin)
    if lost == "all":
        shutil.rmtree(index)
    damaged = {"a table": "labels.*", "its beginning": "about"}.get(lost, "")
    for path, _ in contents(index):
        if damaged and path.match(f"{damaged}.lance/data/*.lance"):
            path.write_bytes(b"half a file")
    warnings_of(capfd)
    await seen(admin, 1)
    async with searching(server, index):
        await settled(admin)
        assert "tidegate reindex" in warnings_of(capfd)
    async with searching(server, index):
        assert "tidegate reindex" in warnings_of(capfd), "as long as it is so"
        await topology.renew_consumer(admin.jetstream(), topology.TopologySettings(), names.EVENTS, "search")
        await until_found(admin, 2)
    assert rows(index) == 4
    async with searching(server, index):
        pass
    assert "tidegate reindex" not in warnings_of(capfd)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (RuntimeError("lance error: LanceError(IO): Input/output error (os error 5)"), True),
        (MemoryError(), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (RuntimeError("Not found: labels.lance/data (os error 2)"), False),
        (ValueError("not a Lance file"), False),
    ],
)
def test_a_transient_error_is_not_damage(error: BaseException, passes: bool) -> None:
    """Regression: a table that was unreadable for lack of a file descriptor was moved out of the index."""
    assert may_pass(error) is passes


async def test_an_inaccessible_index_is_not_lost(server: NatsServer, admin: Client) -> None:
    """Regression: it ended `tidegate up`, and with it the reading of cameras."""
    await Reindexing("/" + "x" * 300).look(admin.jetstream())


async def test_an_interrupted_rebuild_is_repeated(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it left no consumer, and search ended at every start."""
    js = admin.jetstream()
    await seen(admin, 0)
    async with searching(server, tmp_path / "index"):
        await settled(admin)
    shutil.rmtree(tmp_path / "index")
    reindexing = Reindexing(str(tmp_path / "index"))
    add = js.add_consumer
    monkeypatch.setattr(js, "add_consumer", AsyncMock(side_effect=TimeoutError))
    await reindexing.look(js)
    with pytest.raises(NotFoundError):
        await js.consumer_info(names.EVENTS, "search")
    monkeypatch.setattr(js, "add_consumer", add)
    await reindexing.look(js)
    info = await js.consumer_info(names.EVENTS, "search")
    assert info.num_pending == 2
