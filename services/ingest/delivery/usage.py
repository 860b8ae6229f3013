"""Counts what each camera has sent for analysis: how much of it was stored in which minute."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

from services.ingest.cutting.piece import Piece
from services.ingest.streams import Stream
from shared.contract.work.usage import MINUTE_S, CameraUsage, IngestUsage

EVERY_S = 1800.0


@dataclass(slots=True)
class _Sent:
    minutes: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    bytes: int = 0
    frames: int = 0

    def usage(self) -> CameraUsage:
        first, last = min(self.minutes), max(self.minutes)
        return CameraUsage(
            first=first,
            segments=[self.minutes[minute] for minute in range(first, last + 1)],
            seconds=round(self.seconds),
            megabytes=round(self.bytes / 1e6, 1),
            frames=self.frames,
        )


class Meter:
    """One for the process."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(5)
        self._n = 0
        self._since = time.time()
        self._cameras: dict[str, _Sent] = {}

    def record(self, piece: Piece) -> None:
        """Count a segment that was stored just now, unless it is not analysed: the work of replicas is what counts."""
        if piece.stream is Stream.MAIN:
            return
        segment = piece.segment
        sent = self._cameras.setdefault(segment.camera, _Sent())
        sent.minutes[int(max(self._since, time.time()) // MINUTE_S)] += 1
        sent.seconds += segment.duration
        sent.bytes += piece.size
        sent.frames += segment.frames

    def take(self) -> IngestUsage:
        """Return what was sent since the last call."""
        now = max(self._since, time.time())
        used = IngestUsage(
            process=self._process,
            n=self._n,
            since=int(self._since),
            until=int(now),
            cameras={camera: sent.usage() for camera, sent in self._cameras.items()},
        )
        self._n, self._since, self._cameras = self._n + 1, now, {}
        return used
