"""Passwords, hashed by argon2id with a salt each, in a thread: a hash deliberately takes some 30 ms and 64 MB."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from services.console.web.refused import Refused

SHORTEST, LONGEST = 10, 256
# Concurrent hashes: each takes memory, and anonymous requests cause them.
_MOST = 2
_HASHER = PasswordHasher(time_cost=2, memory_cost=64 * 1024, parallelism=1)
# A hash of the same cost that no password has: zeros for salt and digest.
_NOBODY = f"$argon2id$v=19$m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}${'A' * 22}${'A' * 43}"


class Passwords:
    """Hashes passwords. One for the process."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_MOST)

    async def hash(self, password: str) -> str:
        """Return a password's hash. Raises Refused for one that is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise Refused(400, f"a password has {SHORTEST} to {LONGEST} characters: choose another")
        async with self._slots:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def fits(self, hash: str, password: str) -> bool:
        """Whether it is the password. An empty hash, of no person, takes the same time and never fits."""
        if len(password) > LONGEST:
            return False
        async with self._slots:
            return await asyncio.to_thread(_fits, hash or _NOBODY, password) and bool(hash)


def _fits(hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(hash, password)
    except (Argon2Error, InvalidHashError):
        return False
