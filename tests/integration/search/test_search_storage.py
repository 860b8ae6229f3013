"""The index of search: retention, memory, kills and a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import random
import resource
import signal
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.search import chunk
from services.search.index import Index
from services.search.rows import Where
from shared.client import dlq
from shared.models import vectors
from shared.runtime.errors import SettingError
from shared.runtime.ports import free_port
from tests.support.waiting import patience_s
from tests.support.worlds.search_process import Process, until
from tests.support.worlds.search_world import (
    at,
    detected,
    embedded,
    find,
    rows,
    scene,
    searching,
    settled,
)
from tidegate.local.server import NatsServer


async def test_retention_by_age(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    for second in range(200):
        await embedded(admin, "lobby", second, scene(0, second))
    age = (dt.datetime.now(dt.UTC) - at(150)).total_seconds()
    async with searching(server, tmp_path, search_tidy_s=0.2, search_max_age_s=age):
        await settled(admin)
        async with asyncio.timeout(patience_s()):
            while rows(tmp_path) > 50:
                await asyncio.sleep(0.2)


def stored(folder: Path) -> int:
    """Bytes of rows, in a folder whose files come and go."""
    total = 0
    for inside, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(inside) / name).stat().st_size if name.endswith(".lance") else 0
    return total


@pytest.mark.parametrize("dates", [range(200), range(199, -1, -1)], ids=["dates rise", "dates fall"])
async def test_retention_by_size_drops_the_oldest_and_no_more(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dates: Sequence[int]
) -> None:
    """Whatever dates the rows have: old dates could otherwise block the index from shrinking."""
    monkeypatch.setattr(chunk, "TUNING", msgspec.structs.replace(chunk.TUNING, kept_versions=dt.timedelta(0)))
    wide = [vectors.normalise(np.random.default_rng(n).normal(size=2000).astype(np.float32)) for n in range(200)]
    for second, vector in zip(dates, wide, strict=True):
        await embedded(admin, "lobby", second, vector)
    folder, most = tmp_path / "index", 500_000
    async with searching(server, folder, search_tidy_s=0.2, search_max_bytes=most, search_batch_size=20):
        await settled(admin)
        async with asyncio.timeout(patience_s()):
            while stored(folder) > most:
                await asyncio.sleep(0.2)
    left = Index(str(folder))
    assert left.tables.count() > 60, "200 rows of 4 KB are 800 KB"
    assert left.vector(f"embed/m/MEDIA/lobby{1000 + dates[-1]}#0"), "the last one stays"
    assert not left.vector(f"embed/m/MEDIA/lobby{1000 + dates[0]}#0")


@pytest.mark.slow
async def test_memory_does_not_grow_with_writes(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """Regression: LanceDB's cache of each write was never freed: 1.4 GB after 3000 writes."""
    async with searching(server, tmp_path, search_cache_mb=1, search_batch_size=1):
        for second in range(80):
            await embedded(admin, "lobby", second, scene(second))
            await detected(admin, "lobby", second, [("person", 0.5)])
        await settled(admin)
        assert (await find(admin, labels=["person"])).moments[0].hits == 80
        cached = REGISTRY.get_sample_value("tidegate_search_cached_bytes")
        assert cached and cached <= 1024 * 1024


async def test_a_second_process_on_one_index_is_refused(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    async with searching(server, tmp_path):
        with pytest.raises(SettingError, match=r"another search process has the index in .*SEARCH_INDEX"):
            Index(str(tmp_path))
    free = Index(str(tmp_path))
    assert free.similar("m", scene(0), Where(), 5) == [] and free.labelled(Where(labels=["person"]), 5) == []
    free.close()


@pytest.mark.slow
async def test_a_kill_at_any_moment_leaves_every_event_once(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    index, log = tmp_path / "index", tmp_path / "log"
    chance = random.Random(1)

    async def busy() -> None:
        for second in range(400):
            await embedded(admin, f"cam-{second % 5}", second, scene(second % 5, second))
            await detected(admin, f"cam-{second % 5}", second, [("person", 0.5), ("car", 0.6)])

    process = Process(server, index, log)
    publishing = asyncio.create_task(busy())
    kills = 0
    while not publishing.done() or kills < 4:
        await until(lambda n=kills: log.read_text().count("ready  ") > n)  # type: ignore[misc]
        if publishing.done():
            await embedded(admin, "late", 1000 + kills, scene(0, kills))
        await asyncio.sleep(chance.uniform(0, 0.3))
        process.end(signal.SIGKILL)
        kills += 1
        process = Process(server, index, log)
    await publishing
    late = (await admin.jetstream().stream_info("EVENTS", subjects_filter="events.embeddings.late")).state.subjects
    await settled(admin)
    await until(lambda: log.read_text().count("ready  ") > kills)
    assert process.end(signal.SIGTERM) == 0
    assert rows(index) == 400 + 800 + sum((late or {}).values())
    assert [x async for x in dlq.entries(admin)] == []


@pytest.mark.slow
async def test_a_full_disk_is_reported_and_loses_nothing(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    index, log = tmp_path / "index", tmp_path / "log"
    port = free_port(0)
    process = Process(server, index, log, METRICS_PORT=str(port))

    def ready() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as e:
            return e.read().decode()
        except OSError as e:
            return repr(e)

    await embedded(admin, "lobby", 0, scene(0))
    await until(lambda: "ok" in ready())
    await settled(admin)
    # No file may grow: to the process this is a full disk.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
    for second in range(1, 20):
        await embedded(admin, "lobby", second, scene(0, second))
    await until(lambda: "can't be written" in ready())
    waiting = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=patience_s()).read().decode()
    assert "tidegate_search_pending 0.0" not in waiting
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await settled(admin)
    await until(lambda: "ok" in ready())
    assert process.end(signal.SIGTERM) == 0
    assert rows(index) == 20
