"""A limit of concurrent expensive requests, of one person or of all. Pure."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from services.console.web.refused import Refused


class ConcurrencyLimit:
    """most: concurrent requests of each person. refusal: the sentence for more. retry_s: when they may try again."""

    def __init__(self, most: int, refusal: str, retry_s: int) -> None:
        self._most = most
        self._refusal = refusal
        self._retry_s = retry_s
        self.in_flight: Counter[str] = Counter()

    def check(self, person: str = "") -> None:
        """Raises Refused if the person has no free slot."""
        if self.in_flight[person] >= self._most:
            raise Refused(429, self._refusal, Retry_After=str(self._retry_s))

    @contextlib.contextmanager
    def slot(self, person: str = "") -> Iterator[None]:
        """Hold one of the person's slots for the block; without a person, one of all. Raises Refused."""
        self.check(person)
        self.in_flight[person] += 1
        try:
            yield
        finally:
            self.in_flight[person] -= 1
            if not self.in_flight[person]:
                del self.in_flight[person]
