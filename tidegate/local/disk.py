"""What the streams of a server on this machine may hold: the limits of the settings, or less where the disk is smaller.

The limits are made for a server's disk: 22 GB in all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace
from nats.js.api import StreamInfo

from shared.contract import names
from shared.contract.topology import (
    ALERTS_BYTES,
    BACKFILL_BYTES,
    CHECKPOINTS_BYTES,
    GB,
    JOBS_BYTES,
    MB,
    SCENES_BYTES,
    USAGE_BYTES,
    TopologySettings,
)
from shared.runtime.errors import SettingError

# The rest is for logs, the search index and other programs.
SHARE = 0.75
# Of each stream, however small the disk: some minutes of video of a few cameras.
LEAST = 64 * MB
# The settings that limit a stream's bytes, and the stream.
STREAMS = {"media_max_bytes": names.MEDIA, "events_max_bytes": names.EVENTS, "dlq_max_bytes": names.DLQ}


def room(store: Path) -> int:
    """Bytes that STREAMS may be promised in this folder beside the others, where what it holds counts as free."""
    folder = next(path for path in (store, *store.parents) if path.exists())
    others = ALERTS_BYTES + BACKFILL_BYTES + CHECKPOINTS_BYTES + SCENES_BYTES + USAGE_BYTES
    others += len(names.VLM_WORK) * JOBS_BYTES
    return max(0, int(SHARE * (shutil.disk_usage(folder).free + held(store))) - others)


def held(store: Path) -> int:
    """Bytes of the files in this folder."""
    size = 0
    # JetStream may delete them, and folders, in this moment: Path.rglob() raises for a folder before Python 3.13.
    for folder, _, files in os.walk(store):
        for file in files:
            with contextlib.suppress(OSError):
                size += Path(folder, file).stat().st_size
    return size


def said(limits: TopologySettings) -> str:
    """What the streams may hold, for people."""
    return ", ".join(f"{stream} {getattr(limits, field) / GB:.1f} GB" for field, stream in STREAMS.items())


def as_fitted(limits: TopologySettings, streams: Mapping[str, StreamInfo]) -> TopologySettings:
    """The limits, where those that nobody chose stay as small as `tidegate up` made them on this disk."""
    usual = TopologySettings()
    have = {field: streams[stream].config.max_bytes for field, stream in STREAMS.items() if stream in streams}
    unset = [field for field in have if getattr(limits, field) == getattr(usual, field)]
    smaller = {field: size for field in unset if 0 < (size := have[field] or 0) < getattr(usual, field)}
    return replace(limits, **smaller)


def fitted(limits: TopologySettings, room: int, streams: Mapping[str, StreamInfo]) -> TopologySettings:
    """The limits in bytes, each smaller by the same share where the disk has no room for all of them.

    A limit that somebody has chosen, one that is not the usual, stays as it is. None falls below what its stream holds:
    a disk that others fill is no reason to delete events. Raises SettingError where those that were chosen are more
    than the room together, and one of them is new.
    """
    usual = TopologySettings()
    asked = {field: getattr(limits, field) for field in STREAMS}
    chosen = {field: size for field, size in asked.items() if size != getattr(usual, field)}
    unset = {field: size for field, size in asked.items() if field not in chosen}
    have = {field: streams[stream] for field, stream in STREAMS.items() if stream in streams}
    left = room - sum(chosen.values())
    if left < 0 and any(field not in have or have[field].config.max_bytes != size for field, size in chosen.items()):
        named = " and ".join(f"{field.upper()}={size}" for field, size in chosen.items())
        raise SettingError(f"{named}: more than this disk has room for; give at most {room} in all")
    if not unset or sum(unset.values()) <= left:
        return limits
    share = max(0, left) / sum(unset.values())
    held = {field: have[field].state.bytes if field in have else 0 for field in unset}
    return replace(limits, **{field: max(int(share * size), held[field], LEAST) for field, size in unset.items()})
