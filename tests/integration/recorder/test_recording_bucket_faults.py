"""Buckets that are absent, refuse, hang or answer as nobody should."""

from __future__ import annotations

import asyncio
import os

import pytest

from shared.recordings.library import Library
from shared.recordings.records import Hour, hour_of
from shared.recordings.store import Missing, StoreUnavailable
from shared.recordings.stores.bucket import Bucket
from tests.support.servers.s3_server import (
    CREDENTIALS,
    Fault,
    S3Page,
    cut,
    done_unsaid,
    failing,
    hanging,
    moto,
    of,
    passed,
    refused,
)
from tests.support.waiting import until
from tests.support.worlds.buckets import KEY, Doing, bucket, doing, keys, page, url
from tests.support.worlds.recorder_world import BEGIN

__all__ = ["bucket", "doing", "moto", "page", "url"]


async def test_a_missing_bucket_is_reported(page: S3Page, doing: Doing) -> None:
    """Its objects must not count as missing: a caller would begin again without them."""
    bucket = Bucket("s3://no-such-bucket/below")
    with pytest.raises(StoreUnavailable) as error:
        await doing(bucket)
    assert str(error.value) == (
        "the bucket of recordings s3://no-such-bucket/below can't be used: there is none: create it, or name another"
    )
    await bucket.close()


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "InvalidAccessKeyId", r"it refuses us \(403 InvalidAccessKeyId\): correct the credentials, or let them "),
        (401, "", r"it refuses us \(401\): correct the credentials"),
        (400, "ExpiredToken", r"it refuses us \(400 ExpiredToken\)"),
        (301, "PermanentRedirect", "it is in another region: set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "it is in another region: set AWS_REGION"),
        (503, "SlowDown", r"it is asked too much \(503 SlowDown\): have its limits raised"),
        (429, "", r"it is asked too much \(429\)"),
        (500, "InternalError", r"it fails \(500 InternalError\): look at its own state"),
        (507, "XMinioStorageFull", r"it is full \(507 XMinioStorageFull\): make room, or keep less"),
        (418, "Teapot", "418"),
    ],
)
async def test_an_error_of_a_bucket_is_reported_with_its_remedy(
    url: str, page: S3Page, doing: Doing, status: int, code: str, reason: str
) -> None:
    bucket = Bucket(url, ask_s=0.1)
    page.always = refused(status, code)
    with pytest.raises(StoreUnavailable, match=rf"^the bucket of recordings {url} can't be used: .*{reason}") as error:
        await doing(bucket)
    assert "Debug" not in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500
    await bucket.close()


async def test_an_absent_or_hung_bucket_is_reported(url: str, page: S3Page, doing: Doing) -> None:
    bucket = Bucket(url, ask_s=0.5, put_s=0.5)
    page.always = hanging
    with pytest.raises(StoreUnavailable, match="it does not answer in time: look at its own state"):
        await doing(bucket)
    page.always = None
    await page.__aexit__()
    with pytest.raises(StoreUnavailable, match="it can't be reached: is it up, and its endpoint right"):
        await doing(bucket)
    await page.__aenter__()
    await bucket.put(KEY, [b"12345"])
    await doing(bucket)
    await bucket.close()


@pytest.mark.parametrize(
    "text",
    [
        "<Error><Code>" + "A" * 1_000_000,
        "<Code>\x1b[2J\r\n\u202e" + "B" * 200 + "</Code>",
        "http://user:hidden@host/" + "x" * 500,
        "https://host/a?sig=hidden and\x1b[31m more",
        "Debug source: kind: Timeout",
        "",
    ],
)
@pytest.mark.parametrize("status", [403, 404, 409, 416, 418, 500])
async def test_a_foreign_answer_becomes_one_short_sentence(url: str, page: S3Page, status: int, text: str) -> None:
    bucket = Bucket(url, ask_s=0.1)
    page.always = failing(status, text)
    with pytest.raises(StoreUnavailable) as error:
        await bucket.put(KEY, [b"x"])
    sentence = str(error.value)
    assert sentence.isprintable() and "hidden" not in sentence and len(sentence) < 500
    await bucket.close()


async def test_missing_credentials_are_reported(
    url: str, page: S3Page, doing: Doing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them the client requests those of the machine's role."""
    for name in CREDENTIALS.keys() - {"AWS_REGION"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", page.environment["AWS_ENDPOINT_URL"])
    bucket = Bucket(url, ask_s=0.3, put_s=0.3)
    for fault in (refused(404, ""), refused(403, ""), refused(500, ""), hanging):
        page.always = fault
        with pytest.raises(
            StoreUnavailable, match="no credentials are to be had: set those of its cloud, or give this machine"
        ):
            await doing(bucket)
    await bucket.close()


async def test_an_upload_blocks_nobody(bucket: Bucket, page: S3Page) -> None:
    await bucket.put(KEY, [b"12345"])
    page.always = of("PUT", hanging)
    sending = [asyncio.create_task(bucket.put(f"cam/{n}", [b"x"])) for n in range(20)]
    await until(lambda: sum(request.startswith("PUT") for request in page.requests) > 20)
    assert await bucket.read(KEY) == b"12345"
    await bucket.close()
    page.always = None
    await page.__aexit__()
    for task in sending:
        task.cancel()


@pytest.mark.parametrize(
    "faults",
    [
        [refused(503, "SlowDown")] * 3,
        [refused(500, "InternalError"), refused(429, "")],
        [done_unsaid],
        [done_unsaid, refused(503, "SlowDown"), done_unsaid],
    ],
)
async def test_a_transient_error_is_retried(bucket: Bucket, page: S3Page, doing: Doing, faults: list[Fault]) -> None:
    await bucket.put(KEY, [b"12345"])
    page.faults = list(faults)
    await doing(bucket)
    assert page.faults == []


async def test_an_interrupted_answer_is_read_to_its_end(bucket: Bucket, page: S3Page) -> None:
    data = os.urandom(1_000_000)
    await bucket.put(KEY, [data])
    page.faults = [cut]
    assert await bucket.read(KEY) == data
    page.faults = [cut]
    assert await bucket.read(KEY, 1000, 900_000) == data[1000:900_000]


async def test_an_unclear_404_makes_a_check_of_the_bucket(bucket: Bucket, page: S3Page) -> None:
    page.faults = [refused(404, "")]
    with pytest.raises(Missing):
        await bucket.read("cam/b")
    page.faults = [refused(404, ""), refused(404, "NoSuchBucket")]
    with pytest.raises(StoreUnavailable, match="there is none: create it"):
        await bucket.read("cam/b")


async def test_all_objects_are_removed_even_if_a_missing_one_is_an_error(bucket: Bucket, page: S3Page) -> None:
    """As with Google Cloud Storage and Azure, where removal is one by one."""
    for n in range(3):
        await bucket.put(f"cam/{n}", [b"x"])
    page.faults = [refused(404, ""), passed, passed, refused(404, "NoSuchKey")]
    await bucket.remove([f"cam/{n}" for n in range(3)])
    assert await keys(bucket, "cam") == ["cam/1"]


async def test_an_absent_bucket_does_not_lose_the_index(bucket: Bucket, page: S3Page) -> None:
    library = Library(bucket)
    hour = Hour(camera="cam", hour=hour_of(BEGIN))
    await library.close(hour)
    for fault in (refused(404, "NoSuchBucket"), refused(403, "AccessDenied")):
        page.always = fault
        with pytest.raises(StoreUnavailable):
            await library.hour("cam", hour.hour)
        with pytest.raises(StoreUnavailable):
            await library.catalogue("cam")
    page.always = None
    assert await library.hour("cam", hour.hour) == hour
