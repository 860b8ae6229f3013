"""A task queue with leases: a task whose worker falls silent is queued again. Pure.

tasks = TaskQueue(silent_s=30, most_tries=3)
tasks.add(1)
tasks.take(now)          # 1
tasks.renew(1, now)      # True: the task is in flight
tasks.finish(1)          # True: the first result counts
"""

from __future__ import annotations

from collections import Counter, deque

from shared.runtime.errors import TidegateError


class TooManyTimeouts(TidegateError):
    """Several workers fell silent over the task `id`. times: how many."""

    def __init__(self, id: int, times: int) -> None:
        super().__init__(f"task {id} was given {times} times, and never answered")
        self.id, self.times = id, times


class TaskQueue:
    """See the module. silent_s: seconds until a lease expires. most_tries: maximum leases of a task."""

    def __init__(self, silent_s: float, most_tries: int) -> None:
        self._silent_s = silent_s
        self._most_tries = most_tries
        self._waiting: deque[int] = deque()
        self._in_flight: dict[int, float] = {}
        self._expirations: Counter[int] = Counter()

    def add(self, id: int) -> None:
        self._waiting.append(id)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, now: float) -> int | None:
        """Lease the next task; None: none waits. Raises TooManyTimeouts."""
        self._expire(now)
        if not self._waiting:
            return None
        id = self._waiting.popleft()
        self._in_flight[id] = now
        return id

    def renew(self, id: int, now: float) -> bool:
        """Renew a task's lease. Return whether it has one."""
        if id in self._in_flight:
            self._in_flight[id] = now
        return id in self._in_flight

    def give_up(self, id: int) -> None:
        """Return a task that its worker does not finish: it is the next one to lease."""
        if self._in_flight.pop(id, None) is not None:
            self._waiting.appendleft(id)

    def finish(self, id: int) -> bool:
        """Remove a task that has a result. Return whether this is its first result."""
        if id in self._waiting:
            self._waiting.remove(id)
        elif self._in_flight.pop(id, None) is None:
            return False
        self._expirations.pop(id, None)
        return True

    def _expire(self, now: float) -> None:
        """Queue the tasks whose leases have expired. Raises TooManyTimeouts."""
        for id in [id for id, at in self._in_flight.items() if now - at > self._silent_s]:
            self._expirations[id] += 1
            if self._expirations[id] >= self._most_tries:
                raise TooManyTimeouts(id, self._expirations[id])
            self.give_up(id)
