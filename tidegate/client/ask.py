"""A question about a camera's video on `svc.ask`, its answer, and what the model saw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.contract import names, stats
from shared.contract.events import Said
from shared.runtime.errors import SettingError
from tidegate.client.files import folder, written

# Beyond the service's own patience, so that it is the one who says why there is no answer.
MARGIN_S = 5.0
# Pixels of a saved frame's longer side, at most.
PICTURE = 1280


async def ask(client: Client, asked: Mapping[str, Any]) -> Msg:
    """The event that answers. Raises TidegateError."""
    payload = msgspec.json.encode(asked)
    if len(payload) > client.max_payload:
        raise SettingError(f"the question has {len(payload) / 2**20:.1f} MB: ask in fewer words")
    try:
        return await requests.ask(client, names.ASK, payload, timeout_s=asked["wait_s"] + MARGIN_S)
    except NobodyAnswers as e:
        raise NobodyAnswers(
            f"nobody answers questions ({e}): start 'tidegate up --vlm', or VLM_MODE=front python -m services.vlm"
        ) from e


async def hear(client: Client, beats: dict[str, str]) -> None:
    """Keep in `beats` the state of each worker, by replica, as they say it from now on."""

    async def heard(message: Msg) -> None:
        beat = stats.decode(message.data)
        beats[beat.replica] = beat.state

    await client.subscribe(names.stats("vlm", "*"), cb=heard)


async def waited_for(client: Client, beats: Mapping[str, str]) -> str:
    """How many jobs are in work or waiting, and how the workers do. beats: the state of each, by replica."""
    js = client.jetstream()
    try:
        infos = [await js.consumer_info(*work) for work in names.VLM_WORK[:2]]
    except (TimeoutError, nats.errors.Error):
        return "the server does not say what for"
    jobs = sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)
    states = [f"{list(beats.values()).count(s)} {s}" for s in ("ready", "loading") if s in beats.values()]
    return f"{jobs} in work or waiting; workers: {', '.join(states) or 'none yet, the first is being started'}"


async def save(client: Client, event: Said, to: Path) -> list[Path]:
    """The frames that the model was shown, as far as MEDIA keeps them, in the folder `to`. Raises SettingError."""
    from services.vlm.footage import Footage

    paths = []
    folder(to)
    for n, frame in enumerate(await Footage(client, side=PICTURE, threads=1).again(event.frames), 1):
        path = to / f"{n:02}-{event.camera}-{frame.time.astimezone():%Y%m%dT%H%M%S}.jpg"
        with written(path) as part:
            part.write_bytes(frame.jpeg)
        paths.append(path)
    return paths
