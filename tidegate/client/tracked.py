"""Tracks as files: the video and a picture of each.

Example:
    async with Saving(client, "lobby", folder, say) as saving:
        for n, followed in enumerate(found, 1):
            paths = await saving.keep(n, followed)
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

from nats.aio.client import Client

from services.console.video.clips import LONGEST
from services.console.video.pictures import Pictures
from shared.bus.requests import NobodyAnswers
from shared.client.tracks import Followed
from shared.contract.events import PathPoint
from shared.runtime.errors import Refusal
from shared.runtime.tasks import end
from shared.video.decoding.decoders import Decoders
from tidegate.client import clips
from tidegate.client.files import folder, written

OPTION = "--clips"
# The video before and after a track.
BESIDE = dt.timedelta(seconds=3)
# Maximum pixels of a picture's width.
PICTURE = 1280


class Saving:
    """See the module. say: reports gaps."""

    def __init__(self, client: Client, camera: str, to: Path, say: Callable[[str], None]) -> None:
        self._client = client
        self._camera = camera
        self._to = folder(to, OPTION)
        self._say = say
        self._decoders = Decoders(1)
        self._pictures = Pictures(client, self._decoders)

    async def __aenter__(self) -> Saving:
        self._decoding = asyncio.create_task(self._decoders.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._decoding)

    def stem(self, n: int, followed: Followed) -> Path:
        """Return the files of the n-th track, without their suffixes."""
        return self._to / f"{n:02}-{self._camera}-{followed.path[0].time.astimezone():%Y%m%dT%H%M%S}"

    async def keep(self, n: int, followed: Followed) -> list[Path]:
        """Return the files written. Raises TidegateError if one can't be written."""
        paths: list[Path] = []
        for suffix, make in ((".mp4", self._video), (".jpg", self._picture)):
            path = clips.beside(self.stem(n, followed), suffix)
            try:
                await make(path, followed.path)
            except (Refusal, NobodyAnswers) as e:
                self._say(f"no {path.name}: {e}")
                break
            paths.append(path)
        return paths

    async def _video(self, path: Path, points: Sequence[PathPoint]) -> None:
        """Write the video. Raises Refusal if there is none."""
        first, last = points[0].time, points[-1].time
        since = first - BESIDE
        clip = await clips.cut(self._client, path, self._camera, since, min(last + BESIDE, since + LONGEST), OPTION)
        if lacking := clips.short(clip, first, last):
            self._say(f"{path.name} {lacking}")

    async def _picture(self, path: Path, points: Sequence[PathPoint]) -> None:
        """Write the picture. Raises Refusal if there is none."""
        best = max(points, key=_shows)
        picture = await self._pictures.picture(self._camera, best.time, PICTURE, [best.box])
        with written(path, OPTION) as part:
            part.write_bytes(picture.jpeg)


def _shows(point: PathPoint) -> tuple[bool, float]:
    """Rate a picture at this point: detected points first, then the larger box."""
    left, top, right, bottom = point.box
    return point.score is not None, (right - left) * (bottom - top)
