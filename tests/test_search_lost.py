"""An index that is gone, or can't be read, is built again from EVENTS, and somebody is told."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared import bus
from shared.bus.requests import NobodyAnswers
from shared.contract import names, topology
from tests.files import contents
from tests.test_search import detected, embedded, find, rows, scene, searching, settled
from tests.waiting import PATIENCE_S
from tidegate.local.server import NatsServer
from tidegate.local.stack import Stack


async def until_found(client: Client, hits: int) -> None:
    """Until the label was found so often."""
    async with asyncio.timeout(PATIENCE_S):
        while await _hits(client) != hits:
            await asyncio.sleep(0.1)


async def _hits(client: Client) -> int:
    try:
        return sum(moment.hits for moment in (await find(client, labels=["person"])).moments)
    except NobodyAnswers:
        return 0


def said(capfd: pytest.CaptureFixture[str]) -> str:
    return "".join(capfd.readouterr())


async def seen(admin: Client, second: int) -> None:
    await embedded(admin, "lobby", second, scene(second))
    await detected(admin, "lobby", second, [("person", 0.5)])


@pytest.mark.slow
async def test_under_up_what_was_seen_before_is_found_again(tmp_path: Path) -> None:
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
async def test_elsewhere_it_says_what_to_do_and_takes_what_comes(
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
    said(capfd)
    await seen(admin, 1)
    async with searching(server, index):
        await settled(admin)
        assert "tidegate reindex" in said(capfd)
    async with searching(server, index):
        assert "tidegate reindex" in said(capfd), "as long as it is so"
        await topology.renew_consumer(admin.jetstream(), topology.TopologySettings(), names.EVENTS, "search")
        await until_found(admin, 2)
    assert rows(index) == 4
    async with searching(server, index):
        pass
    assert "tidegate reindex" not in said(capfd)
