"""What stays of a file that nobody wanted: nothing, or its keyframes."""

from __future__ import annotations

import asyncio
import secrets

from msgspec.structs import replace

from services.recorder import metrics
from shared.recordings.files import files
from shared.recordings.policy import Kept
from shared.recordings.records import Recorded, Unreadable
from shared.recordings.store import Missing, Store
from shared.recordings.thinning import thinned
from shared.runtime.errors import BadSegment
from shared.runtime.telemetry import logger


async def rest_of(store: Store, camera: str, file: Recorded, kept: Kept) -> list[Recorded]:
    """Files in the place of one, which are there already; itself, where it can't be thinned. Raises Unkept."""
    if kept.rest == "nothing" or kept.record == "never":
        return []
    if file.keyframes:
        return [file]
    try:
        read = await asyncio.to_thread(thinned, camera, file, await store.read(file.key))
    except Missing:
        return []
    except (BadSegment, Unreadable) as e:
        logger("recorder").warning("a file can't be thinned, and stays whole", file=file.key, error=str(e))
        return [file]
    made, holes = await asyncio.to_thread(files, read, secrets.token_hex(4)) if read else ([], [])
    if not made or holes:
        return [file]
    for one in made:
        await store.put(one.record.key, list(one.buffers))
    metrics.THINNED.inc(file.size - sum(one.record.size for one in made))
    return [replace(one.record, keyframes=True, incident=file.incident) for one in made]
