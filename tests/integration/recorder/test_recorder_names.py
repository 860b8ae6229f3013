"""Any publisher of segments can invent cameras' names: the recorder forgets them, and honest cameras do not wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.recorder import tails
from services.recorder.tails import Tails
from shared.bus.log import Log
from shared.contract import names
from tests.support.waiting import until
from tests.support.worlds.recorder_world import filmed, publish, second

__all__ = ["second"]


async def test_invented_names_are_forgotten(
    admin: Client, monkeypatch: pytest.MonkeyPatch, second: Sequence[Piece]
) -> None:
    monkeypatch.setattr(tails, "RETENTION_S", 1.0)
    monkeypatch.setattr(tails, "_EVERY_S", 0.1)
    seen = Tails(admin)
    running = asyncio.create_task(seen.run())
    try:
        await until(lambda: len(admin._subs) > 0)
        await admin.flush()
        for n in range(50):
            await admin.jetstream().publish(names.media(f"fake-{n}"), b"x")
        await publish(admin, filmed(second, range(3)), "yard")
        await until(lambda: len(seen.cameras) == 51)
        seen.owned = set(seen.cameras)
        async with Log(admin, names.MEDIA) as log:
            for n in range(50):
                assert await seen.learn(log, f"fake-{n}", 1) == []
        await until(lambda: seen.cameras == ["yard"])
        assert seen.has_heads("yard"), "what is to be recorded is not forgotten"
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
