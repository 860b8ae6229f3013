"""The frames of a model's input, as files."""

from __future__ import annotations

from pathlib import Path

from nats.aio.client import Client

from shared.contract.events import VlmResult
from tidegate.client.files import folder, written

# Maximum pixels of a saved frame's longer side.
PICTURE = 1280


async def save(client: Client, event: VlmResult, to: Path) -> list[Path]:
    """Write the frames that the model was shown, as far as they exist, to the folder `to`. Raises SettingError."""
    from services.vlm.frames.footage import Footage

    paths = []
    folder(to)
    for n, frame in enumerate(await Footage(client, side=PICTURE, threads=1).again(event.camera, event.frames), 1):
        path = to / f"{n:02}-{event.camera}-{frame.time.astimezone():%Y%m%dT%H%M%S}.jpg"
        with written(path) as part:
            part.write_bytes(frame.jpeg)
        paths.append(path)
    return paths
