"""A bucket on a page that speaks as S3, and acts on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from shared.recordings.store import Store
from shared.recordings.stores.bucket import Bucket
from shared.recordings.stores.folder import Folder
from shared.recordings.stores.keys import Keys, Secret
from shared.recordings.stores.sealed import Sealed
from shared.recordings.stores.sealing import CHUNK, HEAD, TAG
from tests.support.servers.s3_server import (
    S3Page,
)

KEY = "cam/2026-11-29/10/0000-a.mp4"


@pytest_asyncio.fixture
async def page(moto: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Page]:
    async with S3Page(moto) as page:
        for name, value in page.environment.items():
            monkeypatch.setenv(name, value)
        yield page


@pytest_asyncio.fixture
async def url(page: S3Page) -> str:
    return f"s3://{await page.bucket()}/of/this/site"


@pytest_asyncio.fixture
async def bucket(url: str) -> AsyncIterator[Bucket]:
    bucket = Bucket(url)
    yield bucket
    await bucket.close()


@pytest_asyncio.fixture(params=["folder", "bucket", "encrypted"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, page: S3Page) -> AsyncIterator[Store]:
    found: Store = Folder(tmp_path) if request.param == "folder" else Bucket(f"s3://{await page.bucket()}/of/this/site")
    yield Sealed(found, Keys((Secret.new(),)), "RECORDER_KEY_FILE") if request.param == "encrypted" else found
    await found.close()


async def keys(store: Store, prefix: str) -> list[str]:
    return [one.key for one in await store.list_objects(prefix)]


def sealed_size(size: int) -> int:
    return HEAD + size + -(-size // CHUNK) * TAG


Doing = Callable[[Store], Awaitable[object]]
DOINGS: dict[str, Doing] = {
    "put": lambda store: store.put(KEY, [b"x"]),
    "read": lambda store: store.read(KEY),
    "part": lambda store: store.read(KEY, 1, 2),
    "nothing": lambda store: store.read(KEY, 1, 1),
    "remove": lambda store: store.remove([KEY, "cam/b"]),
    "list_objects": lambda store: store.list_objects("cam"),
}


@pytest.fixture(params=DOINGS)
def doing(request: pytest.FixtureRequest) -> Doing:
    return DOINGS[request.param]
