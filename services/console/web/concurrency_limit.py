"""A limit of one person's concurrent expensive requests. Pure."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from services.console.web.refused import Refused


class ConcurrencyLimit:
    """most: concurrent requests of each person. what: their name in the refusal, such as `questions`."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._in_flight: Counter[str] = Counter()

    def check(self, person: str) -> None:
        """Raises Refused if the person has no free slot."""
        if self._in_flight[person] >= self._most:
            raise Refused(
                429, f"{self._most} {self._what} of yours are under way: wait until one is answered", Retry_After="2"
            )

    @contextlib.contextmanager
    def slot(self, person: str) -> Iterator[None]:
        """Hold one of the person's slots for the block. Raises Refused."""
        self.check(person)
        self._in_flight[person] += 1
        try:
            yield
        finally:
            self._in_flight[person] -= 1
            if not self._in_flight[person]:
                del self._in_flight[person]
