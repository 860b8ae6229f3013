"""The embedding worker in a test: segments in, events out."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from nats.aio.client import Client
from PIL import Image as Pillow

import services.embed.__main__ as embed
from services.embed.settings import EmbedSettings
from services.ingest.cutting.piece import Piece
from shared.contract import events, names, topology
from shared.contract.events import DetectedObject, Detections, Embeddings, Frame, SegmentRef, Timing
from shared.contract.segment import Segment, to_headers
from shared.runtime.telemetry import Health
from tests.support import schemas
from tests.support.processes.service import serving
from tidegate.local.server import NatsServer


@contextlib.asynccontextmanager
async def running(server: NatsServer, **settings: Any) -> AsyncIterator[Health]:
    """The service as its `__main__` runs it, as the identity `embed`, ready; drained at the end."""
    async with serving(server, "embed", embed.run, EmbedSettings(embed_infer_threads=2, **settings)) as health:
        yield health


async def publish(client: Client, piece: Piece, n: int, **changes: Any) -> int:
    """A segment of the camera `lobby`, with its own length and after the previous ones."""
    head = msgspec.structs.replace(piece.segment, camera="lobby", epoch="e", n=n, **changes)
    ack = await client.jetstream().publish(names.media("lobby"), piece.payload, headers=to_headers(head))
    return ack.seq


async def embeddings(client: Client) -> list[tuple[str, Embeddings]]:
    """(ce-id, event) of all of them, in the order of EVENTS."""
    js = client.jetstream()
    found = []
    for seq in range(1, (await js.stream_info("EVENTS")).state.last_seq + 1):
        raw = await js.get_msg("EVENTS", seq, direct=True)
        if (raw.subject or "").startswith("events.embeddings."):
            schemas.of_events().validate(json.loads(raw.data or b""))
            event = msgspec.json.decode(raw.data or b"", type=Embeddings)
            found.append(((raw.headers or {})["ce-id"], event))
    return found


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


async def with_crops(client: Client) -> None:
    await topology.apply(client.jetstream(), topology.TopologySettings(embed_crops="detections"))


async def detect(client: Client, piece: Piece, seq: int, *objects: DetectedObject, **changes: Any) -> int:
    """A detections event of a segment published before as the camera `lobby`, at five frames a second."""
    head: Segment = piece.segment
    event = Detections(
        camera="lobby",
        segment=SegmentRef(stream="MEDIA", seq=seq, epoch="e", n=0),
        start=head.start,
        duration=head.duration,
        model="ours",
        frames=[Frame(time=head.start + dt.timedelta(seconds=n / 5), objects=list(objects)) for n in range(5)],
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
    )
    event = msgspec.structs.replace(event, **changes)
    headers = events.headers(event, id=f"cv/ours/{seq}/{json.dumps(changes, default=str)}", source="test")
    return (await client.jetstream().publish("events.detections.lobby", events.encode(event), headers=headers)).seq
