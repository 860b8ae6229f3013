"""Orders connection attempts: unreachable cameras take neither the processor nor all threads.

An attempt takes a thread, for up to INGEST_TIMEOUT_S if an address does not answer. So the number of attempts at a time
is bounded, and a camera that may well be there goes before one that has failed repeatedly.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

# Concurrent attempts: enough for all cameras of a usual process. The waiting threads take 20 MB and a tenth of a core.
MOST = 256
# A failed attempt keeps its place for this many seconds: a refusal comes immediately, and takes 3 ms of a core. So a
# process makes at most 64 attempts a second.
_COOLDOWN_S = 4.0
# Cameras with at least this many failures rank alike.
_ALIKE = 8


class ConnectQueue:
    """Places for attempts, `MOST` of them. One for the process, in the event loop's thread."""

    def __init__(self) -> None:
        self._free = MOST
        self._numbers = itertools.count(1)
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def begin(self, failures: int) -> None:
        """Wait for a place. failures: in a row, of this camera. The caller then calls `end`."""
        if self._free:
            self._free -= 1
            return
        rank, number = min(failures, _ALIKE), next(self._numbers)
        turn = asyncio.get_running_loop().create_future()
        # Somebody who has just added a camera waits for it: among untried cameras, the newest goes first.
        heapq.heappush(self._waiting, (rank, number if rank else -number, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on()
            raise

    def end(self, *, failed: bool) -> None:
        """Give the place back: the camera answers, or it does not."""
        if failed:
            asyncio.get_running_loop().call_later(_COOLDOWN_S, self._pass_on)
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[-1]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
