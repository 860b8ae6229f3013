"""A blocking interface to an object store: a folder or a bucket."""

from __future__ import annotations

import asyncio

from shared.recordings import opening
from shared.recordings.store import Bytes, Missing, Store, StoredObject, StoreUnavailable
from tidegate.archive.job import PLAN, Job


class SyncStore:
    """A `shared.recordings.store.Store` for callers without an event loop. Not thread-safe.

    setting: the option that named the location, for errors. store: an open store. Raises SettingError.
    """

    def __init__(self, location: str, setting: str, store: Store | None = None) -> None:
        self.location = location
        self._store = store or opening.open_store(location, setting)
        self._runner = asyncio.Runner()

    def __enter__(self) -> SyncStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._store.close())
        self._runner.close()

    def read(self, key: str) -> bytes:
        """Return an object. Raises Missing, StoreUnavailable, and Unreadable if an encrypted recording is damaged."""
        return self._runner.run(self._store.read(key))

    def put(self, key: str, data: Bytes) -> None:
        """Write an object atomically. Raises StoreUnavailable."""
        self._runner.run(self._store.put(key, [data]))

    def list_objects(self, prefix: str) -> list[StoredObject]:
        """Return all objects below `prefix`. Raises StoreUnavailable."""
        return self._runner.run(self._store.list_objects(prefix))


def open_recordings(job: Job) -> SyncStore:
    """Open the job's recordings, with the key in its key file. Raises SettingError."""
    return SyncStore(job.store, "--store", opening.open_recordings(job.store, "--store", job.key_file))


def check_reachable(results: SyncStore) -> SyncStore:
    """Return `results`. Raises StoreUnavailable if this machine does not reach them."""
    try:
        results.read(PLAN)
    except Missing as e:
        where = results.location
        raise StoreUnavailable(
            f"{where} is not there for each machine: give a bucket, or a folder that all mount"
        ) from e
    return results
