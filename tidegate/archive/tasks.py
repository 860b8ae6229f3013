"""Which tasks wait, and which are in hand, by when they were last heard of. Pure.

tasks = Tasks(silent_s=30, most_tries=3)
tasks.add(1)
tasks.take(now)          # 1
tasks.heard(1, now)      # True: it is worked on
tasks.done(1)            # True: for the first time
"""

from __future__ import annotations

from collections import Counter, deque

from shared.runtime.errors import TidegateError


class TooOften(TidegateError):
    """Whoever had the task `id` in hand fell silent, several times. times: how often."""

    def __init__(self, id: int, times: int) -> None:
        super().__init__(f"task {id} was given {times} times, and never answered")
        self.id, self.times = id, times


class Tasks:
    """silent_s: what was not heard of for so long is given to another. most_tries: so often at most."""

    def __init__(self, silent_s: float, most_tries: int) -> None:
        self._silent_s = silent_s
        self._most_tries = most_tries
        self._waiting: deque[int] = deque()
        self._in_hand: dict[int, float] = {}
        self._silences: Counter[int] = Counter()

    def add(self, id: int) -> None:
        self._waiting.append(id)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, now: float) -> int | None:
        """The next, which is in hand now; None where there is none. Raises TooOften."""
        self._take_back(now)
        if not self._waiting:
            return None
        id = self._waiting.popleft()
        self._in_hand[id] = now
        return id

    def heard(self, id: int, now: float) -> bool:
        """It is worked on. Returns whether that is wanted."""
        if id in self._in_hand:
            self._in_hand[id] = now
        return id in self._in_hand

    def give_up(self, id: int) -> None:
        """Whoever has it in hand has no time: it is the next."""
        if self._in_hand.pop(id, None) is not None:
            self._waiting.appendleft(id)

    def done(self, id: int) -> bool:
        """It was answered. Returns whether it was still to be done: the first answer counts, whoever gave it."""
        if id in self._waiting:
            self._waiting.remove(id)
        elif self._in_hand.pop(id, None) is None:
            return False
        self._silences.pop(id, None)
        return True

    def _take_back(self, now: float) -> None:
        """Those of which nothing is heard are the next. Raises TooOften."""
        for id in [id for id, at in self._in_hand.items() if now - at > self._silent_s]:
            self._silences[id] += 1
            if self._silences[id] >= self._most_tries:
                raise TooOften(id, self._silences[id])
            self.give_up(id)
