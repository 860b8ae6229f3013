"""The store of recordings: whole objects by key, and byte ranges of one.

After `put` an object is durable: it is on the disk, or in every copy that a bucket promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from shared.runtime.errors import Away, TidegateError

Bytes = bytes | memoryview


class Missing(TidegateError):
    """There is no such object."""


class StoreUnavailable(Away):
    """The store is away, full, or refuses us: recordings have to wait."""


class StoredObject(NamedTuple):
    """An object of the store. size: bytes. changed: Unix seconds."""

    key: str
    size: int
    changed: float


class Store(Protocol):
    """keys: paths with slashes. Everything raises StoreUnavailable if the store can't be used."""

    async def put(self, key: str, parts: Sequence[Bytes]) -> None:
        """Store one object of these concatenated bytes. It appears as a whole, or not at all."""

    async def read(self, key: str, begin: int = 0, end: int | None = None) -> bytes:
        """Return bytes begin:end of an object. Raises Missing."""

    async def copy(self, key: str, to: str) -> None:
        """Copy an object's stored bytes to another key. Raises Missing."""

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove objects. Missing ones are ignored."""

    async def list_objects(self, prefix: str) -> list[StoredObject]:
        """Return the objects below a folder, such as `lobby/2026-11-29/10`, by key."""

    async def lacks(self) -> int:
        """Return the bytes to remove before there is room again; 0: there is room."""

    async def close(self) -> None:
        """Wait for running operations."""
