"""Tracks and incidents of a camera, from its detections: with the live tracker, and by any rules.

Incidents are neither verified nor alerted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.rules.rulebook import NONE, without_actions
from shared.contract import rules as book
from shared.contract.events import Incident, Track, Tracks
from shared.contract.names import Token
from tidegate.archive import rows
from tidegate.archive.frames.analysis import results_key
from tidegate.archive.job import Job
from tidegate.archive.sync_store import SyncStore

# Longer than any timeout of the tracker and of rules.
_FOR_EVER_S = 1e6


class TrackingTask(msgspec.Struct, frozen=True, kw_only=True):
    """A camera, and the keys of its pieces by time."""

    camera: Token
    pieces: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.camera


class TrackingTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a camera. failed: segments on which tracking failed."""

    camera: Token
    tracks: int = 0
    incidents: int = 0
    failed: int = 0


class _RowCollector:
    """Collects the rows of a camera from the outputs of its tracker."""

    def __init__(self, run: str, camera: str) -> None:
        self._run, self._camera = run, camera
        self._open: dict[str, list[Track]] = {}
        self._incidents: dict[str, Incident] = {}
        self.tracks: list[dict[str, Any]] = []

    def add(self, outputs: Outs) -> None:
        for event in (output.what for output in outputs):
            if isinstance(event, Incident):
                self._incidents[event.incident] = event
            elif isinstance(event, Tracks):
                for track in event.tracks:
                    self._open.setdefault(track.id, []).append(track)
                    if track.state == "end":
                        self.tracks.append(rows.track(self._run, self._camera, self._open.pop(track.id)))

    def incidents(self) -> list[dict[str, Any]]:
        return [rows.incident(self._run, event) for event in self._incidents.values()]


def track_camera(results: SyncStore, job: Job, task: TrackingTask) -> TrackingTotals:
    """Write a camera's tracks and incidents. Raises StoreUnavailable."""
    collector = _RowCollector(job.run, task.camera)
    rules = without_actions(book.decode(bytes(job.rules[task.camera]))) if task.camera in job.rules else NONE
    camera = CameraAnalytics(task.camera, replace(job.limits, settle_s=0.0), rules)
    at = 0.0
    for seq, row in enumerate(_segments(results, task), 1):
        event = rows.detections_event(row)
        # The clock of the tracker: each segment counts as processed when it ends.
        at = max(at, event.start.timestamp() + event.duration)
        collector.add(camera.read(seq, event, at))
    collector.add(camera.due(at + _FOR_EVER_S))
    incidents, failed = collector.incidents(), len(camera.failed)
    results.put(results_key("incidents", task.camera), rows.parquet(incidents, rows.INCIDENTS))
    totals = TrackingTotals(camera=task.camera, tracks=len(collector.tracks), incidents=len(incidents), failed=failed)
    results.put(results_key("tracks", task.camera), rows.parquet(collector.tracks, rows.TRACKS, totals))
    return totals


def read_tracking_totals(results: SyncStore, job: Job, camera: str) -> TrackingTotals:
    """Return the totals of a finished camera. Raises StoreUnavailable and Missing."""
    if not job.analyzes_frames:
        return TrackingTotals(camera=camera)
    return rows.read_metadata(results.read(results_key("tracks", camera)), TrackingTotals)


def _segments(results: SyncStore, task: TrackingTask) -> Iterator[dict[str, Any]]:
    for key in task.pieces:
        yield from (row for row in rows.read(results.read(results_key("segments", key))) if row["frames"])
