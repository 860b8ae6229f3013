"""Keeps the index within its age and its size, and queries fast. It runs next to the thread that writes."""

from __future__ import annotations

import math
import time

import numpy as np

from services.search import chunk, metrics
from services.search.settings import SearchSettings
from services.search.tables import Tables
from shared.runtime.telemetry import logger

# An index over its size drops at least this share of its rows at a time.
LEAST_SHARE = 0.05


class Retention:
    """See the module. One thread applies it."""

    def __init__(self, tables: Tables, settings: SearchSettings) -> None:
        self._tables = tables
        self._settings = settings
        self._over_since: float | None = None  # SEARCH_MAX_BYTES, monotonic seconds
        self._log = logger("search")

    def apply(self) -> None:
        """Drop rows by age, tidy, and drop rows by size."""
        age = self.drop_before(round((time.time() - self._settings.search_max_age_s) * 1000))
        metrics.DROPPED.labels("age").inc(age)
        try:
            self.tidy()
        finally:  # the disk is finite, even if tidying fails
            self._keep_within_size()

    def _keep_within_size(self) -> None:
        size = self._tables.size()
        metrics.BYTES.set(size)
        if size <= self._settings.search_max_bytes:
            self._over_since = None
            return
        # At first, perhaps the excess is only compacted or deleted data whose space is not yet freed.
        if self._over_since is not None:
            if time.monotonic() - self._over_since <= 2 * chunk.TUNING.kept_versions.total_seconds():
                return
            dropped = self.drop_first(max(LEAST_SHARE, 1 - self._settings.search_max_bytes / size))
            metrics.DROPPED.labels("size").inc(dropped)
            self._log.info("over SEARCH_MAX_BYTES: the rows that came first are dropped", rows=dropped)
        self.tidy(force=True)
        self._over_since = time.monotonic()

    def drop_before(self, time: int) -> int:
        """Delete the rows of frames before `time`, milliseconds since 1970; return how many there were."""
        dropped = 0
        with self._tables.tidying:
            for chunk in self._tables.all():
                dropped += chunk.drop_before(time)
                if chunk.is_closed:
                    self._tables.remove(chunk)
        return dropped

    def drop_first(self, share: float) -> int:
        """Delete at least this share of the rows, above 0, the first added first; return how many there were."""
        with self._tables.tidying:
            times = [chunk.added_times() for chunk in self._tables.all()]
            added_times = np.concatenate([np.empty(0, np.int64), *times])
            if not added_times.size:
                return 0
            last = math.ceil(min(1.0, share) * added_times.size) - 1
            until = int(np.partition(added_times, last)[last])
            dropped = 0
            for chunk in self._tables.all():
                dropped += chunk.drop_added_until(until)
                if chunk.is_closed:
                    self._tables.remove(chunk)
            return dropped

    def tidy(self, *, force: bool = False) -> None:
        """Keep queries fast, and free the bytes of deleted rows. force: do so even if it is not worth it yet.

        A chunk that can't be tidied does not affect the others. Raises the first error.
        """
        failed: list[Exception] = []
        with self._tables.tidying:
            for kind in self._tables.kinds():
                chunks = self._tables.chunks(kind)
                for chunk in chunks:
                    try:
                        chunk.tidy(full=chunk is not chunks[-1], force=force)
                    except Exception as e:
                        failed.append(e)
        if failed:
            raise failed[0]
