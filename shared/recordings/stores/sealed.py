"""Encrypts recordings in any other store, for all readers and writers.

    store = Sealed(Folder(path), keys, "RECORDER_KEY_FILE")        # keys: None if the setting is not set

Plain objects stay readable. Without its key an encrypted object is refused, and never taken for damage. An object at
the store's root marks it as encrypted, so that no process writes into it without a key.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from shared.recordings.records import Unreadable
from shared.recordings.store import Bytes, Missing, Store, StoredObject, StoreUnavailable
from shared.recordings.stores import sealing
from shared.recordings.stores.keys import Keys, Secret
from shared.recordings.stores.sealing import CHUNK, HEAD, Head

# No camera's id has a dot.
MARK = ".encrypted"
_MARKED = b"What is recorded here is encrypted."
# Cached heads, of files that are read group by group.
KNOWN = 1024


class Codec:
    """Encrypts objects with the first key, and decrypts them with any. Pure. keys: None if `setting` is not set."""

    def __init__(self, keys: Keys | None, setting: str) -> None:
        self._keys = keys
        self._setting = setting

    @property
    def current(self) -> Secret | None:
        """The key of new objects; None: they are plain."""
        return self._keys.all[0] if self._keys else None

    def open(self, key: str, head: Head, data: Bytes, first: int, last: int) -> bytes:
        """Decrypt chunks first:last. Raises Unreadable."""
        try:
            if len(data) != head.place(last) - head.place(first):
                raise Unreadable("some of it is missing, or there is more than was written")
            return sealing.open_chunks(self._secret(key, head), key, head, data, first)
        except Unreadable as e:
            raise Unreadable(f"{key} can't be decrypted: {e}") from e

    def check(self, key: str, data: bytes) -> Head | None:
        """Return the head of an object by its first bytes, `data`; None: it is not encrypted.

        Raises StoreUnavailable if we have no key for it, and Unreadable.
        """
        try:
            head = Head.read(data)
            if head is None:
                self._check_plain(key, data)
            else:
                sealing.check_head(self._secret(key, head), key, head)
        except Unreadable as e:
            raise Unreadable(f"{key} can't be decrypted: {e}") from e
        return head

    def _check_plain(self, key: str, data: bytes) -> None:
        """Check that a plain object is a file or index. Raises Unreadable; StoreUnavailable if plain is refused."""
        if not self._keys:
            return
        if data[:1] != b"{" and not data[4:8].isalnum():
            raise Unreadable("what says how it is encrypted is damaged")
        if self._keys.only:
            raise StoreUnavailable(
                f"{key} is not encrypted, which the file of {self._setting} refuses: take its line 'encrypted-only' "
                "out where recordings are older than the key; else somebody has put it there"
            )

    def _secret(self, key: str, head: Head) -> Secret:
        if head.version != sealing.VERSION:
            raise StoreUnavailable(f"{key} was encrypted by a newer Tidegate: use that")
        secret = self._keys.find(head.id) if self._keys else None
        if secret is None:
            raise StoreUnavailable(self.refusal(f"{key} is encrypted with key {head.id.hex()}"))
        return secret

    def refusal(self, what: str) -> str:
        """Return an error's text: `what`, for lack of its key, and the remedy."""
        if self._keys:
            return f"{what}, which is not in the file of {self._setting}: add it, from a backup, behind those there"
        return f"{what}: set {self._setting} to the file with its key"


class Sealed:
    """See the module, and `shared.recordings.store.Store`. `read` also raises Unreadable, if an object was changed.

    Assumes that no other process rewrites an object that is read in parts.
    """

    def __init__(self, store: Store, keys: Keys | None, setting: str) -> None:
        self._store = store
        self._codec = Codec(keys, setting)
        self._heads = OrderedDict[str, Head | None]()
        self._marked = False

    async def put(self, key: str, parts: Sequence[Bytes]) -> None:
        if not self._marked:
            await self._mark()
            self._marked = True
        await self._put(key, parts)

    async def read(self, key: str, begin: int = 0, end: int | None = None) -> bytes:
        if (begin, end) == (0, None):
            data = await self._store.read(key)
            head = self._codec.check(key, data)
            if head is None:
                return data
            return await self._opened(key, head, memoryview(data)[HEAD:], 0, head.chunks)
        head = await self._head(key)
        if head is None:
            return await self._store.read(key, begin, end)
        end = head.size if end is None else min(end, head.size)
        if begin >= end:
            return b""
        first, last = begin // CHUNK, -(-end // CHUNK)
        data = await self._store.read(key, head.place(first), head.place(last))
        plain = await self._opened(key, head, data, first, last)
        return plain[begin - first * CHUNK : end - first * CHUNK]

    async def copy(self, key: str, to: str) -> None:
        """Copy an object. An encrypted copy can't be read under its new path, but can be copied back."""
        self._heads.pop(to, None)
        await self._store.copy(key, to)

    async def remove(self, keys: Iterable[str]) -> None:
        removed = list(keys)
        for key in removed:
            self._heads.pop(key, None)
        await self._store.remove(removed)

    async def list_objects(self, prefix: str) -> list[StoredObject]:
        return await self._store.list_objects(prefix)

    async def lacks(self) -> int:
        return await self._store.lacks()

    async def close(self) -> None:
        await self._store.close()

    async def _put(self, key: str, parts: Sequence[Bytes]) -> None:
        self._heads.pop(key, None)
        if secret := self._codec.current:
            parts = await asyncio.to_thread(lambda: list(sealing.seal(secret, key, parts)))
        await self._store.put(key, parts)

    async def _mark(self) -> None:
        """Mark the store as encrypted by the current key. Raises StoreUnavailable if it is marked and no key is set."""
        secret = self._codec.current
        try:
            data = await self._store.read(MARK)
            if not secret:
                raise StoreUnavailable(self._codec.refusal("recordings here are encrypted"))
            head = self._codec.check(MARK, data)
        except (Missing, Unreadable):
            head = None
        if secret and (head is None or head.id != secret.id):
            await self._put(MARK, [_MARKED])

    async def _head(self, key: str) -> Head | None:
        """Return an object's head, cached; None: it is not encrypted."""
        if key not in self._heads:
            self._heads[key] = self._codec.check(key, await self._store.read(key, 0, HEAD))
            while len(self._heads) > KNOWN:
                self._heads.popitem(last=False)
        return self._heads[key]

    async def _opened(self, key: str, head: Head, data: Bytes, first: int, last: int) -> bytes:
        """Return chunks first:last, decrypted. Raises Unreadable."""
        try:
            return await asyncio.to_thread(self._codec.open, key, head, data, first, last)
        except Unreadable:
            self._heads.pop(key, None)
            raise
