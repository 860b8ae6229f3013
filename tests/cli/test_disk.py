"""The limits of streams on a small disk: a trial does not need 30 GB of free space."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import StreamConfig, StreamInfo, StreamState

from shared import bus
from shared.contract.topology import GB, MB, TopologySettings
from shared.recordings.stores.folder import Folder
from shared.runtime.errors import SettingError
from tests.support.processes.command_line import tidegate
from tidegate.commands import doctor
from tidegate.local import disk
from tidegate.local.running import Running
from tidegate.local.server import NatsServer

SIZES = st.integers(min_value=1, max_value=200 * GB)
CHOSEN = st.fixed_dictionaries({}, optional=dict.fromkeys(disk.STREAMS, SIZES))
HELD = st.dictionaries(st.sampled_from(list(disk.STREAMS.values())), st.integers(0, 10 * GB))
USUAL = TopologySettings()


def stream(limit: int, held: int) -> StreamInfo:
    state = StreamState(messages=1, bytes=held, first_seq=1, last_seq=1, consumer_count=0)
    return StreamInfo(config=StreamConfig(max_bytes=limit), state=state)


@given(CHOSEN, SIZES, HELD)
def test_limits_fit_the_disk_unless_more_was_chosen_or_stored(
    chosen: dict[str, int], room: int, held: dict[str, int]
) -> None:
    """The streams are there, with the limits that were chosen before."""
    topology_settings = TopologySettings(**chosen)  # type: ignore[arg-type]
    there = {s: stream(getattr(topology_settings, field), held.get(s, 0)) for field, s in disk.STREAMS.items()}
    limits = disk.fitted(topology_settings, room, there)
    sizes = {field: getattr(limits, field) for field in disk.STREAMS}
    for field, size in sizes.items():
        if getattr(topology_settings, field) != getattr(USUAL, field):
            assert size == getattr(topology_settings, field)
        elif limits != topology_settings:
            assert size >= max(disk.LEAST, held.get(disk.STREAMS[field], 0))
    if sum(getattr(topology_settings, field) for field in disk.STREAMS) <= room:
        assert limits == topology_settings
    elif not chosen and not held and room > 22 * disk.LEAST:
        assert sum(sizes.values()) <= room


@given(SIZES, SIZES)
def test_a_new_limit_over_the_disk_size_is_refused(size: int, room: int) -> None:
    topology_settings = TopologySettings(media_max_bytes=size)
    if size > room and size != USUAL.media_max_bytes:
        with pytest.raises(SettingError, match=f"^MEDIA_MAX_BYTES={size}: more .* at most {room} in all"):
            disk.fitted(topology_settings, room, {})
    else:
        assert disk.fitted(topology_settings, room, {}).media_max_bytes in (size, max(int(room * 10 / 22), disk.LEAST))


def test_chosen_limits_must_fit_together() -> None:
    topology_settings = TopologySettings(media_max_bytes=6 * GB, events_max_bytes=6 * GB)
    with pytest.raises(SettingError, match=r"^MEDIA_MAX_BYTES=.* and EVENTS_MAX_BYTES=.*: more than this disk"):
        disk.fitted(topology_settings, 8 * GB, {})
    with pytest.raises(SettingError):  # one is new
        disk.fitted(topology_settings, 8 * GB, {"MEDIA": stream(6 * GB, 0), "EVENTS": stream(5 * GB, 0)})
    there = {"MEDIA": stream(6 * GB, 0), "EVENTS": stream(6 * GB, 0)}
    assert disk.fitted(topology_settings, 8 * GB, there).events_max_bytes == 6 * GB


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make every disk report this many free bytes."""
    usage = namedtuple("usage", "total used free")
    return lambda size: monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - size, size))


async def test_a_server_on_a_small_disk_starts_and_reports_its_limits(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(8 * GB)
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        reply = await server.set_up(admin)
        assert reply[0] == "limits fitted to this disk: MEDIA 2.2 GB, EVENTS 2.2 GB, DLQ 0.4 GB, PICTURES 0.2 GB"
        assert (await admin.jetstream().stream_info("DLQ")).config.max_bytes < GB
        await admin.close()


async def test_setup_keeps_the_limits_that_up_has_fitted(
    tmp_path: Path, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup once promised 22 GB of a disk that has eight, until the next `tidegate up`."""
    free(8 * GB)
    async with NatsServer(tmp_path) as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await server.set_up(admin)
        (tmp_path / "run.json").write_bytes(msgspec.json.encode(Running(server.url, os.getpid())))
        output = (await asyncio.to_thread(tidegate, tmp_path, "setup")).stdout
        assert not [line for line in output.splitlines() if line.startswith("stream ")], output
        monkeypatch.setenv("DLQ_MAX_BYTES", str(GB // 4))
        chosen = (await asyncio.to_thread(tidegate, tmp_path, "setup")).stdout
        assert chosen.splitlines() == ["stream DLQ updated"]
        await admin.close()


async def test_a_disk_that_others_fill_deletes_no_event(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(100 * GB)
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        assert not (await server.set_up(admin))[0].startswith("limits")
        js = admin.jetstream()
        for _ in range(20):
            await js.publish("events.detections.lobby", bytes(MB))
        await admin.close()
    free(1 * MB)
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        assert (await server.set_up(admin))[0].startswith("limits")
        assert (await admin.jetstream().stream_info("EVENTS")).state.messages == 20
        await admin.close()


async def test_a_limit_that_was_chosen_and_does_not_fit_is_refused_by_name(
    tmp_path: Path, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    free(8 * GB)
    monkeypatch.setenv("MEDIA_MAX_BYTES", str(20 * GB))
    async with NatsServer(tmp_path / "nats") as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        with pytest.raises(SettingError, match=r"MEDIA_MAX_BYTES=.*: more than this disk has room for"):
            await server.set_up(admin)
        await admin.close()


async def test_doctor_reports_streams_that_may_outgrow_a_filled_disk(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(100 * GB)
    async with NatsServer(tmp_path) as server:
        admin = await bus.connect(server.settings("admin"), "admin")
        await server.set_up(admin)
        await admin.close()
        (tmp_path / "run.json").write_bytes(msgspec.json.encode(Running(server.url, os.getpid())))
        assert {f.level for f in await doctor.streams(tmp_path)} == {"ok"}
        free(3 * GB)
        (found,) = [f for f in await doctor.streams(tmp_path) if f.level != "ok"]
    assert found.level == "note" and "may grow by 24.3 GB, and 3.0 GB are free" in found.found
    assert "tidegate up" in found.remedy


def test_doctor_reports_a_small_disk(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(8 * GB)
    (found,) = doctor._disk(tmp_path)
    assert found.level == "note" and "MEDIA 2.2 GB" in found.found and "MEDIA_MAX_BYTES" in found.remedy
    free(80 * GB)
    (found,) = doctor._disk(tmp_path)
    assert found.level == "ok"


async def test_folders_removed_during_the_count_are_no_error(tmp_path: Path) -> None:
    """JetStream and a recorder remove folders like this."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for n in range(30):
                (tmp_path / f"{n}/a/b").mkdir(parents=True)
                (tmp_path / f"{n}/a/b/file").write_bytes(b"x" * 10)
            for n in range(30):
                shutil.rmtree(tmp_path / f"{n}")

    coming = threading.Thread(target=come_and_go)
    coming.start()
    recordings = Folder(tmp_path)
    try:
        for _ in range(100):
            assert 0 <= disk.stored_bytes(tmp_path) <= 300
            assert all(found.size in (0, 10) for found in await recordings.list_objects(""))
    finally:
        over.set()
        coming.join()
        await recordings.close()
