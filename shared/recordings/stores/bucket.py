"""Recordings in a bucket: S3 and compatible stores, Google Cloud Storage, Azure. By obstore, over Rust's object_store.

Credentials are where a machine of each cloud has them: variables (`AWS_ACCESS_KEY_ID`, or the file that
`GOOGLE_APPLICATION_CREDENTIALS` names), or its own role. Profile files, such as `~/.aws`, are not read.

A multipart upload appears once all its parts are there; the parts of a failed one are removed. If the bucket is away by
then they stay, and cost, until its own rule for unfinished uploads removes them.

Requests run in threads: obstore's coroutines end a process whose last request has failed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from shared.recordings.store import Bytes, Missing, StoredObject, StoreUnavailable
from shared.runtime.plain import plain
from shared.runtime.redact import redact

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

READERS = 8
# Separate from the readers, so that no answer waits for an upload: one for each file that a recorder writes at a time.
WRITERS = 64
# A single request costs the same for a large object as for a small one, and leaves nothing if it fails.
WHOLE_BYTES = 64 * 2**20
# A larger object is sent in parts, some of them concurrently.
PART_BYTES, PARTS_AT_ONCE = 16 * 2**20, 2
# Timeout of a request, and of the retries while a bucket throttles.
ASK_S = 30.0
# Timeout of an upload: a minute of video gets through on any link that carries the camera's live stream.
PUT_S = 120.0
_CONNECT_S = 5.0
# Content types, for people who open a file in the bucket.
_TYPES = {".mp4": "video/mp4", ".json": "application/json"}
_MOST_RETRIES = 6
_MOST_MESSAGE, _MOST_CODE = 300, 60
# Codes of a missing object. A missing bucket has another code.
_NO_OBJECT = ("NoSuchKey", "BlobNotFound")
# Endpoints that a machine without credentials queries for some.
_GIVE_CREDENTIALS = ("//169.254.", "/latest/api/token", "/latest/meta-data", "/computeMetadata/", "token request")

T = TypeVar("T")


class Bucket:
    """See the module, and `shared.recordings.store.Store`. url: such as `s3://bucket/below`.

    ask_s, put_s: timeouts of a request. Raises ValueError for a URL of no bucket.
    """

    def __init__(self, url: str, *, ask_s: float = ASK_S, put_s: float = PUT_S) -> None:
        self._shown = redact(url.partition("?")[0])
        self._asking = _opened(url, ask_s, ask_s)
        self._putting = _opened(url, put_s, ask_s)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="recordings")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="recordings-put")

    async def put(self, key: str, parts: Sequence[Bytes]) -> None:
        _check(key)

        def put() -> None:
            is_whole = sum(map(len, parts)) <= WHOLE_BYTES
            obstore.put(
                self._putting,
                key,
                b"".join(parts) if is_whole else _pieces(parts),
                attributes={"Content-Type": _TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")},
                use_multipart=not is_whole,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

        await self._in_thread(put, self._writers)

    async def read(self, key: str, begin: int = 0, end: int | None = None) -> bytes:
        _check(key)

        def read() -> bytes:
            try:
                return _bytes(self._asking, key, begin, end)
            except FileNotFoundError as e:
                if _between(str(e), "<Code>", "</Code>") not in _NO_OBJECT:
                    # The answer does not say whether the object or the bucket is missing.
                    self._check_bucket(key)
                raise Missing(f"{key} is not among the recordings") from e

        return await self._in_thread(read)

    async def copy(self, key: str, to: str) -> None:
        await self.put(to, [await self.read(key)])

    async def remove(self, keys: Iterable[str]) -> None:
        removed = list(keys)
        for key in removed:
            _check(key)
        await self._in_thread(lambda: self._remove(removed))

    async def list_objects(self, prefix: str) -> list[StoredObject]:
        _check(prefix)

        def list_objects() -> list[StoredObject]:
            found = chain.from_iterable(obstore.list(self._asking, prefix=prefix))
            return sorted(StoredObject(one["path"], one["size"], one["last_modified"].timestamp()) for one in found)

        return await self._in_thread(list_objects)

    async def lacks(self) -> int:
        return 0

    async def close(self) -> None:
        """Let running requests end by themselves: do not wait for a bucket that hangs."""
        for threads in (self._readers, self._writers):
            threads.shutdown(wait=False, cancel_futures=True)

    def _remove(self, keys: list[str]) -> None:
        if not keys:
            return
        try:
            obstore.delete(self._asking, keys)
        except FileNotFoundError:
            # In stores without bulk deletion a missing object ends the request.
            self._check_bucket(keys[0])
            for key in keys:
                try:
                    obstore.delete(self._asking, key)
                except FileNotFoundError:
                    continue

    def _check_bucket(self, key: str) -> None:
        """Raise the bucket's error if there is no bucket. key: of a missing object, so that little is listed."""
        next(iter(obstore.list(self._asking, prefix=key)), None)

    async def _in_thread(self, work: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads or self._readers, work)
        except (exceptions.BaseError, OSError, ValueError) as e:
            raise StoreUnavailable(f"the bucket of recordings {self._shown} can't be used: {_why(e)}") from e


def _opened(url: str, request_s: float, retry_s: float) -> ObjectStore:
    # Without TLS only if a custom endpoint says so.
    client: ClientConfig = {
        "timeout": dt.timedelta(seconds=request_s),
        "connect_timeout": dt.timedelta(seconds=min(_CONNECT_S, request_s)),
        "allow_http": True,
    }
    retry: RetryConfig = {
        "max_retries": _MOST_RETRIES,
        "backoff": {"init_backoff": dt.timedelta(seconds=0.2), "max_backoff": dt.timedelta(seconds=5), "base": 2},
        "retry_timeout": dt.timedelta(seconds=retry_s),
    }
    try:
        store = from_url(url, client_options=client, retry_config=retry)
    except (exceptions.BaseError, ValueError) as e:
        raise ValueError(_words(e)) from e
    # For obstore any other https://… is a file server, which stores nothing as a bucket does.
    if not isinstance(store, S3Store | GCSStore | AzureStore):
        raise ValueError("that is no bucket: give s3://…, gs://… or az://…")
    return store


def _check(key: str) -> None:
    path = PurePosixPath(key)
    assert not path.is_absolute() and ".." not in path.parts, key


def _bytes(store: ObjectStore, key: str, begin: int, end: int | None) -> bytes:
    """Read bytes. Raises FileNotFoundError, also for a missing bucket, or an error of obstore's."""
    if end is not None and end <= begin:
        # A read of one byte checks that it is there: the answer to a HEAD does not name the fault.
        _bytes(store, key, begin, begin + 1)
        return b""
    options: GetOptions = {}
    if end is not None:
        options = {"range": (begin, end)}
    elif begin:
        options = {"range": {"offset": begin}}
    try:
        return bytes(obstore.get(store, key, options=options).bytes())
    except exceptions.BaseError as e:
        if _between(str(e), "status code: ", " ") == "416":
            # The object is there, and ends before that.
            return b""
        raise


def _pieces(parts: Sequence[Bytes]) -> Iterator[bytes]:
    """Yield the same bytes in larger pieces, so that few are in memory twice."""
    waiting: list[Bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PART_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _why(error: Exception) -> str:
    """Explain the fault and its remedy, without any address: some contain a signature."""
    message, _, source = str(error).partition("Debug source:")
    status, code = _between(message, "status code: ", " "), _between(message, "<Code>", "</Code>")
    what = plain(f"{status} {code}".strip()[:_MOST_CODE])
    if any(marker in message.partition(" - ")[0] for marker in _GIVE_CREDENTIALS):
        return "no credentials are to be had: set those of its cloud, or give this machine a role"
    if (
        status == "301"
        or "configured region" in message
        or code in ("AuthorizationHeaderMalformed", "PermanentRedirect")
    ):
        return "it is in another region: set AWS_REGION"
    if status == "404":
        return "there is none: create it, or name another"
    if status in ("401", "403") or code == "ExpiredToken":
        return f"it refuses us ({what}): correct the credentials, or let them put, get, list and delete there"
    if status in ("429", "503") or code == "SlowDown":
        return f"it is asked too much ({what}): have its limits raised where that lasts"
    if status == "507":
        return f"it is full ({what}): make room, or keep less"
    if status.startswith("5"):
        return f"it fails ({what}): look at its own state"
    if "kind: Timeout" in source:
        return "it does not answer in time: look at its own state, and at the way to it"
    if "kind: Connect" in source:
        return "it can't be reached: is it up, and its endpoint right?"
    return _words(error)


def _words(error: Exception) -> str:
    """Return the library's own message, without its debug part."""
    words = redact(str(error).partition("Debug source:")[0], _MOST_MESSAGE).split()
    return plain(" ".join(word.partition("?")[0] if "://" in word else word for word in words))


def _between(text: str, begin: str, end: str) -> str:
    """Return the text between two markers; "" if they are missing."""
    return text.partition(begin)[2].partition(end)[0] if begin in text else ""
