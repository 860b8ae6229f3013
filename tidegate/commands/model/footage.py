"""The video that the commands measure on: the demo's scenes, a file, or a camera's last segments."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.ingest.cutting.piece import Piece
from services.search.clip import collect
from shared.contract import names
from shared.contract.segment import from_headers
from shared.runtime.errors import SettingError, TidegateError
from tidegate.commands.options import with_admin
from tidegate.demo import clips, full_hd
from tidegate.demo import footage as files
from tidegate.models.footage import Footage, parts
from tidegate.view.waiting import Tell

# The segments to measure on: half a minute of most cameras.
MOST = 30
_MOST_BYTES = 64 * 2**20


def scenes(tell: Tell) -> Footage:
    """Return the demo's scenes, or drawn squares if its clips are not installed. Raise SettingError."""
    tell("encoding footage of 1080p25, once on this machine")
    if files.street():
        return _of(full_hd.segments(), "scenes of the demo, 1080p25 at 4 Mbit/s")
    return _of(full_hd.drawn(), "drawn squares, 1080p25 at 4 Mbit/s: the demo's clips are not installed")


def of_file(path: Path, tell: Tell) -> Footage:
    """Return the first half minute of a video file. Raise SettingError if it can't be read."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            playable = path
            if not files.is_serveable(path):
                tell(f"encoding {path} as H.264")
                playable = Path(folder) / "video.mp4"
                files.serveable(path, playable, lambda share: tell(f"encoding {path}: {share:.0%}"))
            found = clips.pieces(playable, "file", most=MOST)
    except (av.FFmpegError, IndexError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "it has no video"
        raise SettingError(f"--video {path} can't be read: {reason}; give a video file such as an .mp4") from e
    return _of(found, str(path))


def of_camera(data: Path | None, camera: str) -> Footage:
    """Return the last segments of a camera that MEDIA has. Raise TidegateError if there are none."""
    names.check_camera(camera)
    found: list[Footage] = []

    async def work(client: Client) -> None:
        found.append(await _stored(client, camera))

    with_admin(data, work)
    return found[0]


async def _stored(client: Client, camera: str) -> Footage:
    js = client.jetstream()
    try:
        last = await js.get_last_msg(names.MEDIA, names.media(camera), direct=True)
    except NotFoundError as e:
        raise SettingError(
            f"--camera {camera} has no video in {names.MEDIA}: 'tidegate camera list' shows the cameras and their state"
        ) from e
    head = from_headers(last.headers)
    end = head.start + dt.timedelta(seconds=head.duration)
    begin = end - dt.timedelta(seconds=MOST * head.duration)
    run = await collect(js, camera, last.seq or 0, begin, end, max_bytes=_MOST_BYTES)
    return Footage(parts((s.segment, s.payload, s.segment.starts_gop) for s in run), f"camera {camera}")


def _of(pieces: Sequence[Piece], source: str) -> Footage:
    found = parts((p.segment, p.payload, not p.dependent) for p in pieces)
    if not found:
        raise TidegateError(f"{source} has no segment that begins with a keyframe: give another video")
    return Footage(found, source)
