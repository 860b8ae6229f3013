"""Where recordings are kept: whole objects by key, and any bytes of one.

Whoever has `put` something has it for good: it is on the disk, or in every copy that a bucket promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from shared.runtime.errors import Away, TidegateError

Bytes = bytes | memoryview


class Missing(TidegateError):
    """There is no such object."""


class Unkept(Away):
    """The store is away, full, or refuses us: what is to be kept has to wait."""


class Held(NamedTuple):
    """An object that is there. size: bytes. changed: Unix seconds."""

    key: str
    size: int
    changed: float


class Store(Protocol):
    """keys: paths with slashes. Everything raises Unkept where the store can't be used."""

    async def put(self, key: str, parts: Sequence[Bytes]) -> None:
        """One object of these bytes, one after the other. It is there as a whole, or not at all."""

    async def read(self, key: str, begin: int = 0, end: int | None = None) -> bytes:
        """Bytes begin:end of an object. Raises Missing."""

    async def copy(self, key: str, to: str) -> None:
        """Have an object under another key, too, as it is. Raises Missing."""

    async def remove(self, keys: Iterable[str]) -> None:
        """What is not there is removed already."""

    async def held(self, prefix: str) -> list[Held]:
        """What is below a folder, such as `lobby/2026-11-29/10`, by key."""

    async def lacks(self) -> int:
        """Bytes that are to go before there is room again; 0: there is."""

    async def close(self) -> None:
        """Wait for what goes on."""
