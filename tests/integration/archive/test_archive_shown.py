"""A run reports its progress to the local system, which can neither stop it nor slow it down."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.contract import names
from shared.contract.work import runs
from shared.contract.work.runs import Reanalysis
from shared.runtime.errors import TidegateError
from tests.support.console.people import console_on
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s, until
from tests.support.worlds.archive_world import command, seen, store, table, whole
from tests.support.worlds.runs import stored
from tidegate.archive.results.progress_publisher import ProgressPublisher
from tidegate.archive.run import Run
from tidegate.archive.sync_store import SyncStore
from tidegate.local.server import NatsServer

__all__ = ["store", "whole"]


class World:
    """A command that finds the server of this test. output: where its results go."""

    def __init__(self, server: NatsServer, admin: Client, folder: Path) -> None:
        self.server, self.admin, self.output = server, admin, folder / "out"
        self._folder = folder
        self.process: subprocess.Popen[str] | None = None

    def begin(self, *arguments: str) -> None:
        environment = os.environ | self.server.environment("admin") | {"TIDEGATE_DATA": str(self._folder / "data")}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    async def end(self, sig: int = 0) -> tuple[int, str, str]:
        """Wait for its end; return its exit code, stdout and stderr."""
        assert self.process
        if sig:
            self.process.send_signal(sig)
        out, err = await asyncio.to_thread(self.process.communicate, timeout=patience_s())
        return self.process.returncode, out, err

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        self.begin(*arguments)
        return await self.end()

    async def until_done(self, pieces: int) -> None:
        """Wait until that many pieces of the results are there."""
        await until(lambda: len(list((self.output / "segments").rglob("*.parquet"))) >= pieces)

    async def listed_run(self) -> Reanalysis:
        """The bucket's entry of the only run."""
        (run,) = (await stored(self.admin)).values()
        return run


@pytest_asyncio.fixture
async def world(server: NatsServer, admin: Client, tmp_path: Path) -> AsyncIterator[World]:
    world = World(server, admin, tmp_path)
    yield world
    if world.process and world.process.poll() is None:
        world.process.kill()
        world.process.wait()


@pytest.mark.slow
async def test_a_run_shows_its_progress(world: World, store: Path, whole: Path) -> None:
    heard: list[Reanalysis] = []

    async def hear(message: Msg) -> None:
        heard.append(runs.decode(message.subject.rpartition(".")[2], message.data))

    await world.admin.subscribe(names.change(names.RUNS, ">"), cb=hear)
    code, out, err = await world.run(*command(store, "--output", str(world.output), "--workers", "1", "--json"))
    assert code == 0, err
    summary = json.loads(out)
    last = await world.listed_run()
    assert (last.state, last.run, last.output) == ("done", summary["run"], str(world.output))
    assert (last.pieces, last.pieces_done, last.frames, last.frames_done) == (8, 8, 400, 400)
    assert (last.cameras, last.fps, last.engine, last.ends) == (("alley", "crossing"), 5.0, "processes", None)
    for name in ("tracks", "incidents"):
        assert getattr(last, name) == sum(one[name] for one in summary["cameras"])
    assert last.tracks == len(table(whole, "tracks"))
    await until(lambda: heard and heard[-1] == last)
    assert heard[0].state == "looking" and heard[0].pieces_done < 8
    assert [one.frames_done for one in heard] == sorted(one.frames_done for one in heard)
    assert all(later.updated >= sooner.updated for sooner, later in pairwise(heard))
    assert seen(world.output) == seen(whole)


@pytest.mark.slow
async def test_a_stopped_or_killed_run_is_marked(
    world: World, store: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin(*command(store, "--output", str(world.output), "--workers", "1"))
    await world.until_done(1)
    code, _, err = await world.end(signal.SIGINT)
    assert code == 130 and "Traceback" not in err
    stopped = await world.listed_run()
    assert (stopped.state, stopped.ends, stopped.reason) == ("stopped", None, "")
    done = stopped.pieces_done
    world.begin("reanalyze", "--resume", str(world.output), "--workers", "1")
    while not (await world.listed_run()).goes_on:
        await asyncio.sleep(0.1)
    assert (await world.end(signal.SIGKILL))[0] == -signal.SIGKILL
    killed = await world.listed_run()
    assert killed.run == stopped.run and killed.goes_on and killed.pieces_done >= done
    async with console_on(world.server, world.admin) as console:
        root = await console.person("root", "admin", sees_all=True)
        (look,) = (await root.get("runs")).json()["runs"]
        assert (look["heard"], look["of"]["state"]) == (True, "looking")
        # Shorten the minute for this test.
        monkeypatch.setattr(runs, "SILENT_S", 0.5)
        while look["heard"]:
            await asyncio.sleep(0.1)
            (look,) = (await root.get("runs")).json()["runs"]
        code, _, err = await world.run("reanalyze", "--resume", str(world.output))
        assert code == 0, err
        (look,) = (await root.get("runs")).json()["runs"]
        while look["of"]["state"] != "done":
            await asyncio.sleep(0.1)
            (look,) = (await root.get("runs")).json()["runs"]
    assert look["heard"] and (look["of"]["pieces_done"], look["of"]["frames_done"]) == (8, 400)
    assert seen(world.output) == seen(whole)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["goes", "hangs"])
async def test_a_lost_server_harms_no_run(world: World, store: Path, whole: Path, how: str) -> None:
    world.begin(*command(store, "--output", str(world.output), "--workers", "1", "--json"))
    await world.until_done(1)
    if how == "goes":
        await world.server.stop(signal.SIGKILL)
    else:
        world.server.pause()
    try:
        code, out, err = await world.end()
    finally:
        if how == "hangs":
            world.server.resume()
        else:
            await world.server.start()
    assert code == 0 and "Traceback" not in err, err
    assert json.loads(out)["cameras"][0]["frames"] == 200
    assert "the console does not know how this run ended" in err
    assert seen(world.output) == seen(whole) and table(world.output, "tracks") == table(whole, "tracks")


@pytest.mark.slow
async def test_an_older_system_without_the_bucket_works(world: World, whole: Path) -> None:
    shutil.copytree(whole, world.output)
    await world.admin.jetstream().delete_stream(f"KV_{names.RUNS}")
    code, _, err = await world.run("reanalyze", "--resume", str(world.output))
    assert code == 0 and "bucket runs is missing: run 'tidegate setup'" in err
    code, out, _ = await world.run("setup")
    assert code == 0 and f"bucket {names.RUNS} created" in out
    code, _, err = await world.run("reanalyze", "--resume", str(world.output))
    assert code == 0 and "setup" not in err
    # There was no work left: it reports the earlier sums.
    run = await world.listed_run()
    assert (run.state, run.pieces_done, run.tracks) == ("done", 8, len(table(whole, "tracks")))


@pytest.mark.slow
async def test_the_bucket_has_no_credentials(
    world: World, whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in world.server.environment("admin").items():
        monkeypatch.setenv(name, value)
    output, model = "https://us:S3cret@store.example/video?sig=S3cret&se=1", "hf:https://us:S3cret@hub/x"

    def fail() -> None:
        with SyncStore(str(whole), "--resume") as results:
            run = Run.load(results)
        run.job = msgspec.structs.replace(run.job, output=output, model=model)
        with ProgressPublisher(tmp_path, run, "ray"):
            raise TidegateError("https://us:S3cret@store.example/video can't be used:\nno space left \x1b[31m")

    with pytest.raises(TidegateError):
        await asyncio.to_thread(fail)
    reply = await world.listed_run()
    assert (reply.state, reply.engine, reply.output) == ("failed", "ray", "https://***@store.example/video")
    assert reply.reason == "https://***@store.example/video can't be used: no space left [31m"
    assert b"S3cret" not in runs.encode(reply)
