"""How often one may try to sign in: by name and by address, so that guessing takes for ever. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from services.console.web.refused import Refused

# So many tries at once, and one more every so many seconds.
OF_A_NAME = (5, 30.0)
OF_AN_ADDRESS = (20, 3.0)
# Names and addresses are whatever is sent: of those that were longest silent none is known any more.
_MOST = 10_000


class Limits:
    """One for the process; `clock` gives monotonic seconds. What somebody sends to lock another out counts by name and
    address together: the owner, who comes from elsewhere, has tries of their own.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tries: dict[str, float] = {}

    def wait_s(self, name: str, address: str) -> float:
        """Seconds to wait before the next try; 0: it may be made now, and then counts."""
        keys = ((f"n {name} {address}", OF_A_NAME), (f"a {address}", OF_AN_ADDRESS))
        waits = max(self._wait(key, *limit) for key, limit in keys)
        if waits <= 0:
            for key, (_, every_s) in keys:
                self._tries[key] = max(self._tries.pop(key, -math.inf), self._clock()) + every_s
            while len(self._tries) > _MOST:
                del self._tries[next(iter(self._tries))]
        return max(0.0, waits)

    def check(self, name: str, address: str) -> None:
        """Take a try. Raises Refused where it has to wait."""
        if wait := math.ceil(self.wait_s(name, address)):
            raise Refused(429, f"too many tries: wait {wait} s", Retry_After=str(wait))

    def succeeded(self, name: str, address: str) -> None:
        """Whoever was right has all tries again, and has taken none from others who come from the same address."""
        self._tries.pop(f"n {name} {address}", None)
        if (full_at := self._tries.get(f"a {address}")) is not None:
            self._tries[f"a {address}"] = full_at - OF_AN_ADDRESS[1]

    def _wait(self, key: str, burst: int, every_s: float) -> float:
        """A bucket of tokens, kept as the time at which it is full again."""
        full_at = self._tries.get(key, -math.inf)
        return full_at - self._clock() - (burst - 1) * every_s
