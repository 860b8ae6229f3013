"""Search alone gets the results of a run: each is found once, is marked with its run, and reaches no subscriber."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared import bus
from shared.bus.log import Log
from shared.contract import catalog, events, names, topology
from shared.contract.events import Embeddings
from shared.recordings import ledger as ledgers
from shared.recordings.ledger import Ledger
from shared.recordings.policy import camera_key
from shared.runtime.errors import SettingError, TidegateError
from tests.support.processes.command_line import COMMAND
from tests.support.worlds.archive_world import BEGIN, store, table, whole
from tests.support.worlds.search_world import find, rows, searching, settled
from tidegate.archive import rows as parquet
from tidegate.archive.results import past_events
from tidegate.archive.results.past_events import PastEventPublisher
from tidegate.archive.run import Run
from tidegate.archive.sync_store import SyncStore
from tidegate.local.server import NatsServer

__all__ = ["store", "whole"]

T = TypeVar("T")


@pytest_asyncio.fixture
async def recorded(server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server that of the recording system, and the one that `tidegate` uses."""
    for name, value in server.environment("admin").items():
        monkeypatch.setenv(name, value)
    kv = await admin.jetstream().key_value(names.RECORDER)
    for camera in ("alley", "crossing"):
        await kv.put(camera_key(camera), ledgers.encode(Ledger()))


@pytest.fixture
def results(whole: Path, tmp_path: Path) -> Path:
    """The results of a run that has published nothing."""
    return shutil.copytree(whole, tmp_path / "results")


def indexed_pieces(results: Path, run: str = "again", pieces: int | None = None) -> int:
    """Publish a run and count its events. pieces: the command dies after that many, before it marks the last."""
    with SyncStore(str(results), "--resume") as place:
        found = Run.load(place)
        job = msgspec.structs.replace(found.job, run=run)
        # The two cameras of these recordings have equal segment numbers, which one system never produces.
        alley = [piece for piece in found.pieces if piece.camera == "alley"]
        with PastEventPublisher(results, job) as teller:
            states = list(islice(past_events.publish_past(job, alley, [], place, teller), pieces))
    if pieces:
        max((results / "told").rglob("*.json"), key=lambda path: path.stat().st_mtime_ns).unlink()
    return states[-1].events if states else 0


async def run(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def command(server: NatsServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment("admin") | {"COLUMNS": "200"}
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)


def of_alley(results: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in table(results, kind) if row["camera"] == "alley"]


def labels(results: Path) -> int:
    """Count the index's rows of detections."""
    return len({(row["segment"], row["label"]) for row in of_alley(results, "detections")})


@pytest.mark.slow
async def test_an_unseen_moment_is_found_once_and_reaches_no_subscriber(
    server: NatsServer, admin: Client, results: Path, tmp_path: Path, recorded: None
) -> None:
    viewer = await bus.connect(server.settings("viewer"), "viewer")
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(repr(message))

    await viewer.subscribe("events.>", cb=hear)
    await admin.subscribe(names.stored(">"), cb=hear)
    for client in (viewer, admin):
        await client.flush()
    label = of_alley(results, "detections")[0]["label"]
    async with searching(server, tmp_path / "index"):
        # Killed midway, and resumed.
        assert await run(lambda: indexed_pieces(results, pieces=3)) > 0
        await run(lambda: indexed_pieces(results))
        assert await run(lambda: indexed_pieces(results)) == 0, "all is marked"
        await settled(admin)
        assert rows(tmp_path / "index") == 40 + labels(results)
        (best, *_) = (await find(admin, labels=[label], k=1)).moments
        assert best.run == "again" and best.start >= BEGIN and best.score
        like = of_alley(results, "embeddings")[0]
        found = (await find(admin, like=f"{like['id']}#0", k=5)).moments
        assert found and {one.run for one in found} == {"again"}
        both = (await find(admin, labels=[label], run="again", k=100)).moments
        assert both == (await find(admin, labels=[label], k=100)).moments
        assert not (await find(admin, labels=[label], run="another", k=100)).moments
        assert (await find(admin, like=f"{like['id']}#0", run="again", k=5)).moments == found
        assert not (await find(admin, like=f"{like['id']}#0", run="another", k=5)).moments
        # A second publication, beyond the stream's deduplication window, adds no copy.
        hits = (await find(admin, labels=[label], k=100)).moments
        for path in (results / "told").rglob("*.json"):
            path.unlink()
        seen = {row["segment"] for row in of_alley(results, "detections")}
        assert await run(lambda: indexed_pieces(results, run="once-more")) == 40 + len(seen)
        await settled(admin)
        assert rows(tmp_path / "index") == 40 + labels(results)
        assert (await find(admin, labels=[label], k=100)).moments == hits
    # No live subscriber has received an event, and none will.
    async with Log(admin, names.EVENTS) as log:
        assert not await log.read(f"{names.EVENT}.>", 1) and await log.read(f"{names.PAST}.>", 1)
    for service in catalog.services():
        for consumer in service.consumers:
            if consumer.stream == names.EVENTS and consumer.name != "search" and not consumer.when:
                info = await admin.jetstream().consumer_info(names.EVENTS, consumer.name)
                assert not info.num_pending and not (info.delivered and info.delivered.consumer_seq), consumer.name
    for client in (viewer, admin):
        await client.flush()
    assert not heard
    await viewer.close()


async def test_a_moment_indexed_live_is_not_found_twice(
    server: NatsServer, admin: Client, results: Path, tmp_path: Path, recorded: None
) -> None:
    """In either order, and although live analysed other frames."""
    live = dict(parquet.embedding_events(of_alley(results, "embeddings")))
    for id, event in list(live.items())[:20]:
        late = [msgspec.structs.replace(v, time=v.time.replace(microsecond=999_000)) for v in event.vectors]
        await say(admin, msgspec.structs.replace(event, vectors=[*event.vectors, *late]), id)
    async with searching(server, tmp_path / "index"):
        await settled(admin)
        assert rows(tmp_path / "index") == 40
        await run(lambda: indexed_pieces(results))
        await settled(admin)
        count = rows(tmp_path / "index")
        assert count == 40 + 20 + labels(results)
        for id, event in list(live.items())[20:]:
            await say(admin, event, id)
        await settled(admin)
        assert rows(tmp_path / "index") == count


async def say(client: Client, event: Embeddings, id: str) -> None:
    headers = events.headers(event, id=id, source=names.source("embed"))
    await client.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


@pytest.mark.slow
async def test_an_impossible_publication_is_reported_before_the_work(
    server: NatsServer, admin: Client, results: Path, tmp_path: Path, recorded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    js = admin.jetstream()
    # No indexer runs.
    monkeypatch.setattr(past_events, "_MOST_WAITING", 1)
    monkeypatch.setattr(past_events, "_TIMEOUT_S", 0.0)
    with pytest.raises(TidegateError, match=r"wait for search, which takes none: .*--search"):
        await run(lambda: indexed_pieces(results))
    # EVENTS is too small, or of an earlier version.
    settings = topology.TopologySettings(events_max_bytes=100_000)
    await topology.apply(js, settings)
    with pytest.raises(SettingError, match=r"EVENTS room for .* raise EVENTS_MAX_BYTES"):
        await run(lambda: indexed_pieces(results))
    search = (await js.consumer_info(names.EVENTS, "search")).config
    live = [subject for subject in search.filter_subjects or () if subject.startswith("events.")]
    await js.add_consumer(names.EVENTS, search.evolve(filter_subjects=live))
    events_ = (await js.stream_info(names.EVENTS)).config
    await js.update_stream(events_.evolve(subjects=["events.>"]))
    with pytest.raises(SettingError, match="run 'tidegate setup'"):
        await run(lambda: indexed_pieces(results))
    await topology.apply(js, topology.TopologySettings())
    monkeypatch.undo()
    for name, value in server.environment("admin").items():
        monkeypatch.setenv(name, value)
    assert await run(lambda: indexed_pieces(results)) > 0
    assert (await js.consumer_info(names.EVENTS, "search")).num_pending
    # It is not the recording system.
    await (await js.key_value(names.RECORDER)).delete(camera_key("alley"))
    refused = await run(lambda: command(server, "reanalyze", "--resume", str(results), "--events"))
    assert refused.returncode == 1 and "alley was not recorded by the system" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
async def test_the_command_publishes_results_of_an_earlier_run(
    server: NatsServer, admin: Client, results: Path, tmp_path: Path, recorded: None
) -> None:
    async with searching(server, tmp_path / "index"):
        label = table(results, "detections")[0]["label"]
        done = await run(lambda: command(server, "reanalyze", "--resume", str(results), "--events"))
        assert done.returncode == 0 and "report: " in done.stdout, done.stderr
        await settled(admin)
        shown = (await run(lambda: command(server, "find", "--label", label, "-k", "1"))).stdout
        nothing = await run(lambda: command(server, "find", "--label", label, "--run", "20261129-130500-3f9a"))
        assert "in run 20261129-130500-3f9a" in nothing.stdout and "try without --run" in nothing.stdout
        assert shown.rstrip("\n").split("\t")[-1] == "again", shown
