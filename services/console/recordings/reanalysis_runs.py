"""Runs of `tidegate reanalyze`, from the bucket `runs`, for users who may see their cameras."""

from __future__ import annotations

import time

import msgspec

from services.console.web.asker import Asker
from shared.bus.client import Connection
from shared.bus.mirror import Mirror
from shared.contract.work import runs
from shared.contract.work.runs import Reanalysis
from shared.runtime.errors import SettingError

# The latest runs that an answer lists at most.
MOST = 100


class ReanalysisRun(msgspec.Struct, frozen=True, kw_only=True):
    """of: the run's entry. heard: false if it should be running and has been silent for a minute: it was killed."""

    of: Reanalysis
    heard: bool


class UnusableRun(msgspec.Struct, frozen=True, kw_only=True):
    """An invalid entry. mistake: the reason."""

    run: str
    mistake: str


class ReanalysisRuns(msgspec.Struct, frozen=True, kw_only=True):
    """runs: at most a hundred, latest first. unusable: for users who see every camera."""

    runs: list[ReanalysisRun]
    unusable: list[UnusableRun]


class Reanalyses:
    """Runs of `tidegate reanalyze`. client: the connection that reads the bucket."""

    def __init__(self, client: Connection, bucket: Mirror) -> None:
        self._client = client
        self._bucket = bucket

    def of(self, asker: Asker) -> ReanalysisRuns:
        """Return the runs that the user may see: those of which they may see every camera."""
        found: list[tuple[str, Reanalysis]] = []
        unusable: list[UnusableRun] = []
        for key, value in self._bucket.values.items():
            try:
                found.append((key, runs.decode(key, value)))
            except SettingError as e:
                unusable.append(UnusableRun(run=key[:64], mistake=str(e)))
        visible = (one for one in found if all(map(asker.sees, one[1].cameras)))
        seen = sorted(visible, key=lambda one: one[1].began, reverse=True)
        return ReanalysisRuns(
            runs=[ReanalysisRun(of=run, heard=self._is_heard(key, run)) for key, run in seen[:MOST]],
            unusable=unusable[:MOST] if asker.cameras is None else [],
        )

    def _is_heard(self, key: str, run: Reanalysis) -> bool:
        # While disconnected the console receives no heartbeats.
        if not self._client.is_connected:
            return True
        here, stored = self._bucket.seen[key], self._bucket.written[key]
        return runs.is_heard(run, time.monotonic() - here, time.time() - stored)
