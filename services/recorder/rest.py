"""What remains of a file that the policy does not keep: nothing, or its keyframes."""

from __future__ import annotations

import asyncio
import secrets

from msgspec.structs import replace

from services.recorder import metrics
from shared.recordings.files import build_files
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import Recorded, Unreadable
from shared.recordings.store import Missing, Store
from shared.recordings.thinning import keyframe_segments
from shared.runtime.errors import BadSegment
from shared.runtime.telemetry import logger


async def rest_of(store: Store, camera: str, file: Recorded, policy: EffectivePolicy) -> list[Recorded]:
    """Return the stored files that replace one; the file itself if it can't be thinned. Raises StoreUnavailable."""
    if policy.rest == "nothing" or policy.record == "never":
        return []
    if file.keyframes:
        return [file]
    try:
        read = await asyncio.to_thread(keyframe_segments, camera, file, await store.read(file.key))
    except Missing:
        return []
    except (BadSegment, Unreadable) as e:
        logger("recorder").warning("a file can't be thinned, and stays whole", file=file.key, error=str(e))
        return [file]
    rest, holes = await asyncio.to_thread(build_files, read, secrets.token_hex(4)) if read else ([], [])
    if not rest or holes:
        return [file]
    for one in rest:
        await store.put(one.record.key, list(one.buffers))
    metrics.THINNED.inc(file.size - sum(one.record.size for one in rest))
    return [replace(one.record, keyframes=True, incident=file.incident) for one in rest]
