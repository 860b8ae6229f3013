"""A folder of measured models, as `tidegate model add` writes it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np

from shared import bus
from shared.contract import names
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.models import measured
from shared.models.machine import describe
from shared.models.measured import Rate, StoredModel
from shared.runtime.tasks import end
from shared.video.pictures import jpeg
from tidegate.local.server import NatsServer

YAML = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\n"


def measure(folder: Path, name: str, *, rate: float = 8.35, spec: str = "", **fields: object) -> StoredModel:
    """Store a model with a file of its own, unless there is a spec, and a picture. fields: of StoredModel."""
    files = []
    if not spec:
        path = folder.parent / f"{name}.onnx"
        path.write_bytes(name.encode() * 100)
        files, spec = [str(path)], str(path)
    values = {
        "name": name,
        "spec": spec,
        "detector": name,
        "settings": {"CV_MODEL": spec, "CV_BATCH_SIZE": "4", "CV_INFER_THREADS": "2", "CV_FPS": "2"},
        "files": files,
        "fingerprint": measured.fingerprint(files),
        "service_rate": rate,
        "rate": Rate(segments_s=rate, segment_s=1.0, cores=1.7, busy=0.8, decode_s=0.04),
        "fps": 2.0,
        "cameras": int(rate * 0.7),
        "load": 0.7,
        "latency_target_s": 4.0,
        "footage": "camera lobby",
        "added": dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC),
        "machine": msgspec.structs.replace(describe(), load=0.0),
    }
    model = StoredModel(**{**values, **fields})  # type: ignore[arg-type]
    measured.save(folder, model)
    (folder / f"{name}.jpg").write_bytes(picture())
    (folder / f"{name}.yaml").write_text(YAML)
    return model


def picture() -> bytes:
    """A small JPEG."""
    return jpeg(np.full((360, 960, 3), (40, 70, 90), np.uint8))


@contextlib.asynccontextmanager
async def works(server: NatsServer, beat: WorkerStats) -> AsyncIterator[None]:
    """Publish a heartbeat of a replica of cv again and again, until the block is left."""
    client = await bus.connect(server.settings("cv"), "cv")

    async def publish() -> None:
        while True:
            await client.publish(names.stats("cv", beat.replica), stats.encode(beat))
            await asyncio.sleep(0.2)

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        await end(publishing)
        await client.close()
