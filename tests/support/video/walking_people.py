"""Detections of people on given paths: the input for tests of analytics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from nats.aio.client import Client

from shared.contract import events
from shared.contract.events import DetectedObject, Detections, Frame, SegmentRef, Timing

START = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)


class Walk(NamedTuple):
    """An object whose feet go from one point to another, between two times in seconds."""

    begin: float
    end: float
    start: tuple[float, float]
    to: tuple[float, float]
    label: str = "person"
    size: tuple[float, float] = (0.06, 0.2)
    score: float = 0.8

    def box(self, time: float) -> tuple[float, float, float, float] | None:
        if not self.begin <= time <= self.end:
            return None
        share = (time - self.begin) / (self.end - self.begin)
        x, y = (a + share * (b - a) for a, b in zip(self.start, self.to, strict=True))
        w, h = self.size
        x1, y1, x2, y2 = x - w / 2, y - h, x + w / 2, y
        box = (max(0.0, x1), max(0.0, y1), min(1.0, x2), min(1.0, y2))
        return box if box[0] < box[2] and box[1] < box[3] else None


def detections(
    walks: Sequence[Walk],
    seconds: int,
    *,
    camera: str = "lobby",
    fps: int = 5,
    epoch: str = "e",
    first: int = 0,
    seq: int = 1,
    start: dt.datetime = START,
) -> list[Detections]:
    """An event for each second. `first`: of their segments' numbers. seq: in MEDIA, of the first."""
    out = []
    for n in range(seconds):
        frames = []
        for k in range(fps):
            time = n + k / fps
            objects = [
                DetectedObject(label=w.label, score=w.score, box=tuple(round(v, 4) for v in box))  # type: ignore[arg-type]
                for w in walks
                if (box := w.box(time))
            ]
            frames.append(Frame(time=start + dt.timedelta(seconds=time), objects=objects))
        out.append(
            Detections(
                camera=camera,
                segment=SegmentRef(stream="MEDIA", seq=seq + n, epoch=epoch, n=first + n),
                start=start + dt.timedelta(seconds=n),
                duration=1.0,
                width=1280,
                height=720,
                model="m",
                frames=frames,
                timing=Timing(queued_ms=1, decode_ms=1, infer_ms=1),
            )
        )
    return out


async def publish(client: Client, found: Sequence[Detections]) -> None:
    """Put them into EVENTS, as cv does."""
    for event in found:
        ref = event.segment
        headers = events.headers(event, id=f"cv/m/{event.camera}/{ref.epoch}/{ref.n}", source="test")
        await client.jetstream().publish(events.subject(event), events.encode(event), headers=headers)
