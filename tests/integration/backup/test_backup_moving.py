"""A backup while others change what it reads: no camera with the credentials of another time."""

from __future__ import annotations

import asyncio
import threading
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest

from services.search.index import Index
from services.search.retention import Retention
from services.search.rows import LabelRow
from services.search.settings import SearchSettings
from shared.client import registry
from shared.contract import cameras, credentials, names
from shared.contract.cameras import Camera
from tests.support.waiting import patience_s
from tests.support.worlds.backups import header, read, running
from tidegate.backup import buckets, folder
from tidegate.backup.format import Writer
from tidegate.backup.records import Piece

MOVING = ("a", "b")


@pytest.mark.slow
async def test_cameras_that_change_all_the_time_are_whole(tmp_path: Path) -> None:
    """Each change moves a camera to another address, with a password for only this address."""
    async with running(tmp_path / "data") as client:
        js = client.jetstream()
        for id in (*MOVING, "still"):
            await put(js, id, 0)
        changing = asyncio.create_task(change(js))
        found = await buckets.read_cameras(client)
        assert not changing.done()
        assert set(found.entries[names.CAMERAS]) == {*MOVING, "still"}
        for id, value in found.entries[names.CAMERAS].items():
            camera = cameras.decode(value)
            entry = credentials.decode(found.entries[names.CREDENTIALS][id])
            assert entry.origin == credentials.origin(camera.url)
            assert entry.secret == f"op:{entry.origin.rpartition('.')[2].partition(':')[0]}"
        assert found.moving == []
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)


async def change(js: object) -> None:
    for n in count(1):
        for id in MOVING:
            await put(js, id, n % 200)


async def put(js: object, id: str, n: int) -> None:
    await registry.put(js, id, Camera(url=f"rtsp://10.0.0.{n}/stream"), f"op:{n}")  # type: ignore[arg-type]


async def test_a_bucket_that_changes_all_the_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "TRIES", 3)
    async with running(tmp_path / "data") as client:
        js = client.jetstream()
        usual = buckets._values

        async def moved(*arguments: object) -> dict[str, buckets.Value]:
            await js.publish(f"$KV.{names.RULES}.lobby", b"{}")
            return await usual(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(buckets, "_values", moved)
        found = await buckets.read(client, names.RULES)
        assert found.moving == ["bucket rules"]
        assert found.entries == {names.RULES: {"lobby": b"{}"}}


def label_row(n: int) -> LabelRow:
    return LabelRow(
        id=f"cv/ssd/MEDIA/{n}#x",
        camera="lobby",
        start=n * 1000,
        end=n * 1000 + 1000,
        time=n * 1000 + 200,
        seq=n,
        label="person",
        score=0.5,
        box=(0.0, 0.0, 1.0, 1.0),
    )


@pytest.mark.slow
@pytest.mark.xdist_group("index")
def test_the_index_is_copied_while_search_writes_and_tidies_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    index = Index(str(old / "index"))
    index.tables.begin("of the old consumer")
    retention = Retention(index.tables, SearchSettings(search_index=str(old / "index")))
    stop, first = threading.Event(), threading.Event()

    def write() -> None:
        for n in count():
            index.add([], [label_row(n)])
            if n % 5 == 0:
                retention.tidy(force=True)
            if n >= 20:
                first.set()
            if stop.is_set():
                return

    writing = threading.Thread(target=write)
    writing.start()
    try:
        assert first.wait(patience_s())
        for _ in range(3):
            at_least = index.tables.count()
            file = BytesIO()
            writer = Writer(file, header(), None)
            folder.take(writer, old, passwords=True, tell=lambda _: None)
            writer.end()
            stage = folder.Stage(new)
            for record in read(file.getvalue()):
                assert isinstance(record, Piece)
                stage.add(record)
            stage.place()
            copy = Index(str(new / "index"))
            try:
                assert copy.tables.count() >= at_least
                assert copy.tables.origin == ""
            finally:
                copy.close()
    finally:
        stop.set()
        writing.join()
        index.close()


def test_a_file_is_taken_in_pieces(tmp_path: Path) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    new.mkdir()
    sizes = {"empty": 0, "piece": folder.PIECE, "two": 2 * folder.PIECE, "more": 2 * folder.PIECE + 1}
    (data / "models").mkdir(parents=True)
    for name, size in sizes.items():
        (data / "models" / name).write_bytes(b"x" * size)
    (data / "models" / "link").symlink_to("/etc/hostname")
    (data / "models" / "strange name").write_text("")
    file = BytesIO()
    writer = Writer(file, header(), None)
    folder.take(writer, data, passwords=True, tell=lambda _: None)
    writer.end()
    stage = folder.Stage(new)
    for record in read(file.getvalue()):
        if isinstance(record, Piece):
            stage.add(record)
    assert stage.place()["models"] == len(sizes)
    assert {path.name: path.stat().st_size for path in (new / "models").iterdir()} == sizes
    assert {path.stat().st_mode & 0o777 for path in (new / "models").iterdir()} == {0o600}
