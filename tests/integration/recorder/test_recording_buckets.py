"""A bucket stores recordings as a folder does, and each fault of a bucket is one sentence."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import from_url

from services.ingest.cutting.piece import Piece
from shared.recordings.library import Library
from shared.recordings.opening import open_store
from shared.recordings.store import Missing, Store, StoreUnavailable
from shared.recordings.stores import bucket as buckets
from shared.recordings.stores.bucket import Bucket
from shared.recordings.stores.folder import Folder
from shared.recordings.stores.sealed import Sealed
from shared.runtime.errors import SettingError
from tests.support.examples import examples
from tests.support.servers.s3_server import (
    CREDENTIALS,
    S3Page,
    done_unsaid,
    moto,
    passed,
    refused,
)
from tests.support.waiting import until
from tests.support.worlds.buckets import KEY, bucket, keys, page, sealed_size, store, url
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, seconds_of, world

__all__ = ["bucket", "moto", "page", "second", "store", "url", "world"]


async def test_a_store_returns_what_was_put(store: Store) -> None:
    data = os.urandom(3_000_001)
    parts = [data[n : n + 997] for n in range(0, len(data), 997)]
    await store.put(KEY, [b"", *parts, memoryview(b"")])
    assert await store.read(KEY) == data
    assert await store.read(KEY, 1_500_000, 2_700_000) == data[1_500_000:2_700_000]
    assert await store.read(KEY, 2_999_000, 5_000_000) == data[2_999_000:]
    assert await store.read(KEY, 2_999_000) == data[2_999_000:]
    index = "cam/2026-11-29/10/index.json"
    await store.put(index, [b"{}"])
    await store.put(index, [b"[]"])
    assert await store.read(index) == b"[]"
    held = await store.list_objects("cam/2026-11-29/10")
    sizes = [len(data), 2] if not isinstance(store, Sealed) else [sealed_size(len(data)), sealed_size(2)]
    assert [(one.key, one.size) for one in held] == [(KEY, sizes[0]), (index, sizes[1])]
    assert all(abs(one.changed - held[0].changed) < 3600 for one in held)
    await store.remove(["cam/2026-11-29/10/b.mp4", *(one.key for one in held)])
    assert await store.list_objects("cam") == []
    assert await store.lacks() == 0


async def test_an_absent_object_is_missing(store: Store) -> None:
    await store.put(KEY, [b"12345"])
    for begin, end in ((0, None), (3, None), (0, 5), (3, 3)):
        with pytest.raises(Missing, match=r"^cam/b is not among the recordings$"):
            await store.read("cam/b", begin, end)
    # A key below it is no object.
    with pytest.raises((Missing, StoreUnavailable)):
        await store.read("cam/2026-11-29")
    assert await store.list_objects("other") == []


async def test_a_range_beyond_the_end_is_empty(store: Store) -> None:
    await store.put(KEY, [b"12345"])
    await store.put("cam/empty", [])
    assert [await store.read(KEY, *part) for part in ((5,), (5, 9), (7,), (2, 2), (3, 1))] == [b""] * 5
    assert [await store.read("cam/empty", *part) for part in ((), (0, 5), (3,))] == [b""] * 3


async def test_a_listing_has_only_objects_below_its_folder(store: Store) -> None:
    for key in ("lobby/1/a", "lobby/1/b/c", "lobby/10/a", "lobby/1-/a", "lobby2/1/a", "lobby/hours.json"):
        await store.put(key, [b"x"])
    assert await keys(store, "lobby/1") == ["lobby/1/a", "lobby/1/b/c"]
    assert await keys(store, "lobby") == ["lobby/1-/a", "lobby/1/a", "lobby/1/b/c", "lobby/10/a", "lobby/hours.json"]
    assert await keys(store, "lobb") == await keys(store, "lobby/1/a") == []


async def test_many_objects_are_removed_and_missing_ones_are_ignored(store: Store) -> None:
    names = [f"cam/{n:04}" for n in range(0, 1200, 100)]
    for name in names:
        await store.put(name, [b"x"])
    await store.put("other/a", [b"x"])
    await store.remove([])
    await store.remove(f"cam/{n:04}" for n in range(1200))
    assert await keys(store, "cam") == [] and await keys(store, "other") == ["other/a"]
    await store.remove(names)


TOKENS = st.text("01-_a", min_size=1, max_size=3)


@settings(max_examples=examples(25))
@given(st.lists(st.tuples(TOKENS, TOKENS, TOKENS), min_size=1, max_size=6, unique=True), st.data())
def test_a_bucket_holds_what_a_folder_holds(
    moto: str, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    names = ["/".join(row) for row in rows]
    request = data.draw(st.sampled_from(sorted({part for row in rows for part in (row[0], "/".join(row[:2]))})))
    missing = data.draw(st.sets(st.sampled_from(names)))

    async def both() -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": moto}).items():
                patch.setenv(name, value)
            place = f"s3://{await S3Page(moto).bucket()}/below"
            row: list[Store] = [Folder(tmp_path_factory.mktemp("store")), Bucket(place)]
        found = []
        for each in row:
            for name in names:
                await each.put(name, [name.encode()])
            await each.remove(missing)
            remaining = [one[:2] for one in await each.list_objects(request)]
            found.append((remaining, [await each.read(key) for key, _ in remaining]))
            await each.close()
        assert found[0] == found[1]

    asyncio.run(both())


@pytest.mark.parametrize(
    ("key", "kind"), [(KEY, "video/mp4"), ("cam/hours.json", "application/json"), ("cam/a", "application/octet-stream")]
)
async def test_an_object_has_its_content_type(bucket: Bucket, url: str, key: str, kind: str) -> None:
    await bucket.put(key, [b"x"])
    there = from_url(url, client_options={"allow_http": True})
    assert (await asyncio.to_thread(obstore.get, there, key)).attributes["Content-Type"] == kind


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An object of four parts: S3 accepts none below 5 MiB."""
    monkeypatch.setattr(buckets, "WHOLE_BYTES", 6 * 2**20)
    monkeypatch.setattr(buckets, "PART_BYTES", 5 * 2**20)
    return os.urandom(16 * 2**20)


async def test_a_large_object_is_sent_in_parts(bucket: Bucket, page: S3Page, small_parts: bytes) -> None:
    whole = memoryview(small_parts)
    await bucket.put(KEY, [whole[:100], b"", whole[100 : 7 * 2**20], whole[7 * 2**20 :]])
    assert await bucket.read(KEY) == small_parts
    assert sum("partNumber" in request for request in page.requests) == 4


async def test_a_failed_upload_leaves_nothing(bucket: Bucket, url: str, page: S3Page, small_parts: bytes) -> None:
    page.faults = [passed, passed, refused(403, "AccessDenied")]
    with pytest.raises(StoreUnavailable, match="403 AccessDenied"):
        await bucket.put(KEY, [small_parts])
    assert await bucket.list_objects("cam") == []
    assert await page.unfinished(url.split("/")[2]) == []


async def test_an_upload_that_fails_at_its_end_is_invisible(
    url: str, bucket: Bucket, page: S3Page, small_parts: bytes
) -> None:
    """The bucket's own lifecycle rule removes its parts, because no process is left to abort the upload."""
    impatient = Bucket(url, ask_s=0.3)
    page.faults = [passed] * 5
    page.always = refused(503, "SlowDown")
    with pytest.raises(StoreUnavailable):
        await impatient.put(KEY, [small_parts])
    await impatient.close()
    page.always = None
    assert await bucket.list_objects("cam") == []
    assert len(await page.unfinished(url.split("/")[2])) == 1
    await bucket.put(KEY, [small_parts])
    assert await bucket.read(KEY) == small_parts


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("ftp://host/x", r"^RECORDER_STORE=ftp://host/x can't be used: give a folder, or s3://…, gs://… or az://…$"),
        ("s3://", r"^RECORDER_STORE=s3:// can't be used: "),
        ("https://example.org/files", r"^RECORDER_STORE=https://example.org/files can't be used: that is no bucket: "),
        ("s3://key:hidden@bucket/x", r"^RECORDER_STORE holds credentials: give them as variables"),
        ("az://account/container", r"^RECORDER_STORE=az://account/container can't be used: "),
    ],
)
def test_a_setting_that_names_no_bucket_is_refused(place: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingError, match=reason) as error:
        open_store(place, "RECORDER_STORE")
    assert "hidden" not in str(error.value) and "Debug" not in str(error.value)


async def test_a_signature_in_an_address_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=2026&sig=hidden")
    bucket = Bucket("abfss://container@account.dfs.core.windows.net/x?sig=hidden", ask_s=0.1)
    with pytest.raises(StoreUnavailable) as error:
        await bucket.read(KEY)
    assert "hidden" not in str(error.value)
    await bucket.close()


@pytest.mark.slow
async def test_an_absent_bucket_loses_nothing(
    world: World, page: S3Page, url: str, bucket: Bucket, second: Sequence[Piece]
) -> None:
    world.library = Library(bucket)
    recorder = world.recorder(RECORDER_STORE=url)
    await publish(world.admin, filmed(second, range(70)))
    await world.until_recorded(60)
    await page.__aexit__()
    await publish(world.admin, filmed(second, range(70, 400)))
    await until(lambda: "recordings wait" in recorder.log)
    assert f"the bucket of recordings {url} can't be used: it can't be reached" in recorder.log
    # It returns overloaded, and with lost answers.
    page.faults = [refused(503, "SlowDown"), done_unsaid, passed, done_unsaid, refused(500, "InternalError")]
    await page.__aenter__()
    files, holes = await world.until_recorded(400)
    assert seconds_of(files) == {BEGIN + s(n): 1 for n in range(400)} and not holes
    assert "recordings go on" in recorder.log and page.faults == []
    for file in files:
        assert len(await bucket.read(file.key)) == file.size
    assert await recorder.end() == 0
