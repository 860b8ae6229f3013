"""Rate limits of sign-in attempts, by name and by address, so that guessing is not feasible. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from services.console.web.refused import Refused

# Burst of attempts, and seconds until one more is allowed.
OF_A_NAME = (5, 30.0)
OF_AN_ADDRESS = (20, 3.0)
# Clients choose names and addresses: the least recently used are dropped.
_MOST = 10_000


class Limits:
    """One for the process; `clock` gives monotonic seconds. Attempts on a name count per address, so that nobody can
    lock out the owner, who signs in from another address.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tries: dict[str, float] = {}

    def wait_s(self, name: str, address: str) -> float:
        """Return the seconds to wait before the next attempt; 0: it is allowed now, and counted."""
        keys = ((f"n {name} {address}", OF_A_NAME), (f"a {address}", OF_AN_ADDRESS))
        waits = max(self._wait(key, *limit) for key, limit in keys)
        if waits <= 0:
            for key, (_, every_s) in keys:
                self._tries[key] = max(self._tries.pop(key, -math.inf), self._clock()) + every_s
            while len(self._tries) > _MOST:
                del self._tries[next(iter(self._tries))]
        return max(0.0, waits)

    def check(self, name: str, address: str) -> None:
        """Count an attempt. Raises Refused if it has to wait."""
        if wait := math.ceil(self.wait_s(name, address)):
            raise Refused(429, f"too many tries: wait {wait} s", Retry_After=str(wait))

    def record_success(self, name: str, address: str) -> None:
        """Give a successful attempt back: to its name all attempts, to its address this one."""
        self._tries.pop(f"n {name} {address}", None)
        if (full_at := self._tries.get(f"a {address}")) is not None:
            self._tries[f"a {address}"] = full_at - OF_AN_ADDRESS[1]

    def _wait(self, key: str, burst: int, every_s: float) -> float:
        """Return the wait of a token bucket, stored as the time at which it is full again."""
        full_at = self._tries.get(key, -math.inf)
        return full_at - self._clock() - (burst - 1) * every_s
