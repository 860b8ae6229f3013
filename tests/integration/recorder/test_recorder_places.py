"""Any publisher of segments can invent cameras: the recorder records a limited number, and listed ones always."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.recorder.admission import Admission
from shared.client import registry
from shared.contract import names
from shared.contract.cameras import new_camera
from tests.support.waiting import patience_s
from tests.support.worlds.recorder_world import World, filmed, publish, second, world

__all__ = ["second", "world"]


@given(st.lists(st.sets(st.integers(0, 30)), max_size=10), st.integers(0, 5))
def test_listed_cameras_always_have_a_place_and_others_a_limited_number(rounds: list[set[int]], most: int) -> None:
    entries = {f"cam-{n}": b"" for n in range(5)}
    admission = Admission(entries, {"camera.cam-5": b""}, most)
    ever: set[str] = set()
    for row in rounds:
        cameras = {f"cam-{n}" for n in row}
        chosen = admission.admit(cameras)
        assert {f"cam-{n}" for n in row if n <= 5} <= chosen <= cameras
        ever |= chosen
    assert sum(not admission.is_listed(camera) for camera in ever) <= most


def test_cameras_with_a_ledger_keep_their_place() -> None:
    admission = Admission({}, {}, 2)
    admission.restore(["a", "b"])
    assert admission.admit({"a", "b", "c"}) == {"a", "b"}


@pytest.mark.slow
async def test_invented_cameras_fill_no_bucket_and_the_listed_one_is_recorded(
    world: World, admin: Client, second: Sequence[Piece]
) -> None:
    entry, secret = new_camera("rtsp://10.0.0.1/")
    await registry.put(admin.jetstream(), "yard", entry, secret)
    for n in range(20):
        await publish(admin, filmed(second, [0], epoch=f"e{n}"), f"invented-{n}")
    recorder = world.recorder(RECORDER_UNLISTED_CAMERAS="3")
    await publish(admin, filmed(second, range(12)), "yard")
    async with asyncio.timeout(4 * patience_s()):
        while len(ledgers := await ledgers_of(admin)) < 4:
            await asyncio.sleep(0.2)
    assert "yard" in ledgers
    assert await recorder.end() == 0
    assert len(await ledgers_of(admin)) == 4


async def ledgers_of(admin: Client) -> list[str]:
    subjects = (await admin.jetstream().stream_info(f"KV_{names.RECORDER}", subjects_filter=">")).state.subjects or {}
    return [subject.rpartition(".")[2] for subject in subjects]
