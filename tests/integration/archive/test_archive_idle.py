"""`reanalyze --live`: cv's replicas analyse recordings whenever they are idle, and only then."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.contract.work import reanalysis
from shared.runtime.errors import SettingError
from tests.support.processes.command_line import COMMAND, tidegate
from tests.support.waiting import patience_s, until
from tests.support.worlds.archive_world import BEGIN, seen, store, table, whole
from tests.support.worlds.live_engine import MODEL, World, beat_as, media, world
from tests.support.worlds.recorder_world import publish
from tidegate.archive.engines import task_server
from tidegate.local.server import NatsServer

__all__ = ["media", "store", "whole", "world"]


@pytest.mark.slow
async def test_replicas_find_the_same_as_processes(world: World, whole: Path, admin: Client) -> None:
    cv = await world.cv()
    run = await world.run()
    assert seen(world.output) == seen(whole) and table(world.output, "tracks") == table(whole, "tracks")
    assert run.job.models == MODEL and not world.messages
    # None of its events go where those of live video go.
    assert (await admin.jetstream().stream_info(names.EVENTS)).state.messages == 0
    assert await cv.end() == 0


@pytest.mark.slow
async def test_live_video_has_priority(world: World, whole: Path, admin: Client, media: list[Piece]) -> None:
    """While live video waits, no replica requests tasks; one with a task in flight analyses live video first."""
    cv = await world.cv()
    requests: list[int] = []
    events = await admin.subscribe(names.event("detections", "cam"))
    run = asyncio.create_task(world.run())

    async def hear(message: Msg) -> None:
        requests.append(events._received)

    # Next to the run, whose requests these are.
    await until(lambda: (world.output / "segments").exists())
    await admin.subscribe(names.reanalysis("cv"), cb=hear)
    await publish(admin, media)
    await events.next_msg(timeout=patience_s())
    requests.clear()
    for _ in media[1:]:
        await events.next_msg(timeout=patience_s())
    assert events._received == len(media)
    assert not [n for n in requests if n < len(media)], "it asked while live video waited"
    await run
    assert seen(world.output) == seen(whole)
    assert await cv.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_lost_replica_loses_nothing(
    world: World, whole: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    # The run does not wait for a released task; it does for a silent one.
    monkeypatch.setattr(task_server, "SILENT_S", 3600.0 if how is signal.SIGTERM else 2.0)
    cv = await world.cv()
    run = asyncio.create_task(world.run())
    await until(lambda: len(list((world.output / "segments").rglob("*.parquet"))) >= 2)
    cv.process.send_signal(how)
    assert await cv.ended() == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    await until(lambda: f"no replica of cv runs with {MODEL}: waiting for one" in world.messages)
    other = await world.cv()
    await run
    assert seen(world.output) == seen(whole)
    assert await other.end() == 0


@pytest.mark.slow
async def test_a_lost_run_harms_no_replica(world: World, whole: Path, server: NatsServer, admin: Client) -> None:
    cv = await world.cv()
    half = await world.run(pieces=2)
    assert 0 < half.pieces_left < len(half.pieces)
    await server.stop(signal.SIGKILL)
    await server.start()
    await asyncio.to_thread(world.resume)
    assert seen(world.output) == seen(whole)
    assert await cv.end() == 0


@pytest.mark.slow
async def test_two_replicas_share_a_run(world: World, whole: Path, admin: Client) -> None:
    who: set[str] = set()

    async def hear(message: Msg) -> None:
        who.add(reanalysis.free(message.data).replica)

    await admin.subscribe(names.reanalysis("cv"), cb=hear)
    replicas = [await world.cv(), await world.cv()]
    await world.run()
    assert seen(world.output) == seen(whole) and len(who) == 2
    for cv in replicas:
        assert await cv.end() == 0


@pytest.mark.slow
async def test_mistakes_are_reported_before_the_work(world: World, admin: Client, store: Path, tmp_path: Path) -> None:
    job, todo = await world.planned()
    world.reach()

    def refused(*options: str) -> str:
        arguments = ["reanalyze", "--store", str(store), "--since", str(BEGIN), "--output", str(world.output), "--live"]
        done = subprocess.run(
            [*COMMAND, *arguments, *options],
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=patience_s(),
            check=False,
        )
        assert done.returncode and "Traceback" not in done.stderr and not world.output.exists()
        return done.stderr

    assert "no replica of cv runs" in await asyncio.to_thread(refused)
    for option in ("--model", "--device", "--embed"):
        assert f"leave out {option}" in await asyncio.to_thread(refused, option, "cpu")
    beats = [await beat_as(admin, "one")]
    assert "--ray" in await asyncio.to_thread(refused, "--ray", "auto")
    with pytest.raises(SettingError, match=f"look with one now, and this run with {MODEL}"):
        await asyncio.to_thread(world.probe, job, todo)
    beats.append(await beat_as(admin, "two"))
    for beat in beats:
        beat.cancel()
    nobody = tidegate(tmp_path, "reanalyze", "--store", str(store), "--live", check=False)
    assert "nothing runs on" in nobody.stderr
