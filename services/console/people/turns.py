"""How much one person may have going on at once: what costs much is asked for in turns. Pure."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from services.console.web.refused import Refused


class ConcurrencyLimit:
    """most: at once, of each person. what: what the refusal calls them, such as `questions`."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: Counter[str] = Counter()

    def check(self, person: str) -> None:
        """Raises Refused where they have no turn left."""
        if self._taken[person] >= self._most:
            raise Refused(
                429, f"{self._most} {self._what} of yours are under way: wait until one is answered", Retry_After="2"
            )

    @contextlib.contextmanager
    def turn(self, person: str) -> Iterator[None]:
        """One turn of theirs, until the block is left. Raises Refused."""
        self.check(person)
        self._taken[person] += 1
        try:
            yield
        finally:
            self._taken[person] -= 1
            if not self._taken[person]:
                del self._taken[person]
