"""Every store with something of several cameras, each message and entry with a marker of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from nats.aio.client import Client

from shared.bus.log import Log
from shared.contract import names, topology
from shared.contract.deadletters import dead_letter_headers
from shared.contract.segment import rfc3339
from tests.support.waiting import patience_s
from tidegate.erasing import table

BEGAN = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=30)
_ALPHABET = string.ascii_letters + string.digits
# What of a camera is in a bucket, by its key.
KEYS = (
    *((names.CAMERAS, "{camera}"), (names.CREDENTIALS, "{camera}"), (names.RULES, "{camera}")),
    *((names.RECORDINGS, "camera.{camera}"), (names.SCENES, "{camera}"), (names.ANALYTICS, "camera.7.{camera}")),
    *((names.CAMERAS, "removed.{camera}"), (names.REVIEWS, "reviewed.ann.crowd.{camera}.1")),
)


def at(second: float) -> dt.datetime:
    return BEGAN + dt.timedelta(seconds=second)


def marker() -> str:
    """A text that no compression shortens, and that nothing else has."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(48))


class Placed(NamedTuple):
    """A marker. store: where it is."""

    store: str
    text: str


async def fill(client: Client, camera: str, second: float = 0.0) -> list[Placed]:
    """Put a message about this second into every stream, and an entry into every bucket; return the markers."""
    placed: list[Placed] = []
    js = client.jetstream()

    async def put(store: str, subject: str, headers: dict[str, str] | None = None, **fields: object) -> None:
        text = marker()
        placed.append(Placed(store, text))
        payload = msgspec.json.encode({"marker": text, "camera": camera, **fields})
        await js.publish(subject, payload, headers=headers)

    times = {"start": rfc3339(at(second)), "duration": 1.0}
    head = segment_headers(camera, second)
    for subject in names.streams_of(camera):
        await put(names.MEDIA, subject, head)
    letter = dead_letter_headers(
        "cv", "broken", stream="MEDIA", seq=7, subject=names.media(camera), deliveries=5, headers=head
    )
    await put(names.DLQ, names.dead_letters("cv"), letter | {"Nats-Msg-Id": marker()})
    for stream, kind in ((names.VLM, "verify"), (names.ASKS, "ask"), (names.CAPTIONS, "caption")):
        await put(stream, names.job(kind, camera), start=rfc3339(at(second)), end=rfc3339(at(second + 1)))
    await put(names.BACKFILL, names.backfill("cv", camera), **times)
    for event in ("detections", "captions", "tracks", names.revised("detections"), names.past("detections")):
        await put(names.EVENTS, names.event(event, camera), **times)
    incident = f"crowd.{camera}.1"
    for kind in names.COPIED:
        await put(names.ALERTS, names.event(kind, camera), time=rfc3339(at(second)), incident=incident)
    await put(names.PICTURES, names.picture(camera, incident), {"Picture-Time": rfc3339(at(second))})
    for bucket, key in KEYS:
        await put(f"KV {bucket}", f"$KV.{bucket}.{key.format(camera=camera)}")
    await _copied(client, names.event(names.COPIED[-1], camera), placed)
    return placed


async def _copied(client: Client, subject: str, placed: Sequence[Placed]) -> None:
    """Wait until ALERTS has its copy of the last event on `subject`."""
    (text,) = [one.text for one in placed if one.store == names.ALERTS][-1:]
    async with asyncio.timeout(patience_s()), Log(client, names.ALERTS) as log:
        while (last := await log.last(subject)) is None or text.encode() not in last.data:
            await asyncio.sleep(0.01)


def segment_headers(camera: str, second: float) -> dict[str, str]:
    return {
        **{"Camera": camera, "Epoch": "e", "Segment": f"{second:.0f}", "Start": rfc3339(at(second))},
        **{"Duration": "1.000", "Codec": "h264", "Width": "320", "Height": "240", "Frames": "25"},
    }


def found(folders: Iterable[Path], markers: Iterable[Placed]) -> set[Placed]:
    """The markers whose bytes are in any file below these folders."""
    wanted = list(markers)
    there = bytes_found(folders, [one.text.encode() for one in wanted])
    return {one for one in wanted if one.text.encode() in there}


def bytes_found(folders: Iterable[Path], wanted: Iterable[bytes]) -> set[bytes]:
    """Those of some bytes that are in any file below these folders."""
    left = set(wanted)
    there: set[bytes] = set()
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        there |= {one for one in left - there if one in data}
    return there


async def everything(client: Client, cameras: Sequence[str]) -> dict[str, list[tuple[int, str, bytes]]]:
    """All messages of these cameras in every stream and bucket: sequence, subject, payload."""
    wanted: dict[str, list[tuple[int, str, bytes]]] = {}
    streams = [str(stream.name) for stream in topology.streams(topology.TopologySettings())]
    for stream in (*streams, *(f"KV_{bucket}" for bucket in table.BUCKETS)):
        async with Log(client, stream) as log:
            wanted[stream] = [
                (one.seq, one.subject, one.data)
                for one in await log.all(">")
                if any(camera in (*one.subject.split("."), one.headers.get("Camera")) for camera in cameras)
            ]
    return wanted
