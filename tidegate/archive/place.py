"""Objects in a folder or a bucket, for programs that wait for each."""

from __future__ import annotations

import asyncio
from types import TracebackType

from shared.recordings import opening
from shared.recordings.store import Bytes, Missing, Store, StoredObject, Unkept
from tidegate.archive.job import PLAN, Job


class Place:
    """A store of `shared.recordings.store`, without a loop of the caller's. It is used by one thread at a time.

    setting: what named it, for errors. store: what is there, where that was opened already. Raises SettingError.
    """

    def __init__(self, where: str, setting: str, store: Store | None = None) -> None:
        self.where = where
        self._store = store or opening.opened(where, setting)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runner.run(self._store.close())
        self._runner.close()

    def read(self, key: str) -> bytes:
        """Raises Missing and Unkept; of recordings Unreadable, where what is encrypted is damaged."""
        return self._runner.run(self._store.read(key))

    def put(self, key: str, data: Bytes) -> None:
        """As a whole, or not at all. Raises Unkept."""
        self._runner.run(self._store.put(key, [data]))

    def held(self, prefix: str) -> list[StoredObject]:
        """Raises Unkept."""
        return self._runner.run(self._store.list_objects(prefix))


def recordings(job: Job) -> Place:
    """What was recorded, by the key that the job names the file of. Raises SettingError."""
    return Place(job.store, "--store", opening.recordings(job.store, "--store", job.key_file))


def reached(results: Place) -> Place:
    """The results of a run, on a machine that may be another one. Raises Unkept where it does not reach them."""
    try:
        results.read(PLAN)
    except Missing as e:
        raise Unkept(f"{results.where} is not there for each machine: give a bucket, or a folder that all mount") from e
    return results
