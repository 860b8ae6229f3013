"""Seconds during which an activity runs; concurrent runs count once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """Runs while it has more starts than stops, and nothing suspends it."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since = 0.0  # monotonic clock, seconds; counts while it runs
        self._started = 0
        self._suspended = 0

    @property
    def seconds(self) -> float:
        """So far."""
        return self._seconds + (time.monotonic() - self._since if self._runs else 0.0)

    @property
    def _runs(self) -> bool:
        return self._started > 0 and not self._suspended

    def start(self) -> None:
        self._change(started=1)

    def stop(self) -> None:
        self._change(started=-1)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run during the block."""
        self._change(started=1)
        try:
            yield
        finally:
            self._change(started=-1)

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Do not run during the block."""
        self._change(suspended=1)
        try:
            yield
        finally:
            self._change(suspended=-1)

    def _change(self, *, started: int = 0, suspended: int = 0) -> None:
        self._seconds, self._since = self.seconds, time.monotonic()
        self._started += started
        self._suspended += suspended
