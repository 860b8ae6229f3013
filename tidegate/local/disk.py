"""The limits of streams on this machine: those of the settings, or less on a smaller disk.

The default limits suit a server's disk: 23 GB in all.
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
from shared.contract.memory import GB, MB
from shared.contract.topology import (
    ALERTS_BYTES,
    BACKFILL_BYTES,
    CHECKPOINTS_BYTES,
    JOBS_BYTES,
    SCENES_BYTES,
    USAGE_BYTES,
    TopologySettings,
)
from shared.runtime.errors import SettingError
from shared.runtime.settings import load

# The rest of the disk is for logs, the search index and other programs.
SHARE = 0.75
# The minimum of each stream, for any disk: some minutes of video of a few cameras.
LEAST = 64 * MB
# The bytes for the streams that a trial needs: below this they are full before anything is seen.
WORKS = 3 * LEAST
# The settings that limit a stream's bytes, and the stream.
STREAMS = {
    "media_max_bytes": names.MEDIA,
    "events_max_bytes": names.EVENTS,
    "dlq_max_bytes": names.DLQ,
    "pictures_max_bytes": names.PICTURES,
}


def room(store: Path) -> int:
    """Return the bytes that STREAMS may reserve in this folder next to the others; its own content counts as free."""
    folder = next(path for path in (store, *store.parents) if path.exists())
    return max(0, int(SHARE * (shutil.disk_usage(folder).free + stored_bytes(store))) - _others())


def _others() -> int:
    """Return the bytes that the streams besides STREAMS may reserve."""
    others = ALERTS_BYTES + BACKFILL_BYTES + CHECKPOINTS_BYTES + SCENES_BYTES + USAGE_BYTES
    return others + len(names.VLM_WORK) * JOBS_BYTES


def check(store: Path) -> list[str]:
    """Return a warning if a disk has less room than the default limits need.

    Raises SettingError if a new store would have too little for any use: a start on existing data may make room.
    """
    folder = next(path for path in (store, *store.parents) if path.exists())
    free, stored = shutil.disk_usage(folder).free, stored_bytes(store)
    least, usual = WORKS / SHARE, needed(TopologySettings())
    where = "choose a folder on another disk with --data"
    if free + stored < least and not stored:
        raise SettingError(
            f"{free // MB} MB are free at {folder}, and video and events need at least {least // MB:.0f} MB "
            f"({usual / GB:.0f} GB for their usual limits): free some, or {where}. Nothing was started"
        )
    if free + stored >= usual or load(TopologySettings) != TopologySettings():
        return []
    return [
        f"the disk is small: {free / GB:.1f} GB are free at {folder}, and the usual limits of streams need "
        f"{usual / GB:.0f} GB: less video waits while workers are away. Set MEDIA_MAX_BYTES, EVENTS_MAX_BYTES and "
        f"DLQ_MAX_BYTES, or {where}"
    ]


def needed(limits: TopologySettings) -> float:
    """Return the bytes of disk that these limits need, with the other streams and the rest of the disk."""
    return (sum(int(getattr(limits, field)) for field in STREAMS) + _others()) / SHARE


def stored_bytes(store: Path) -> int:
    """Return the bytes of the files in this folder."""
    size = 0
    # JetStream may delete files and folders meanwhile: Path.rglob() raises for a folder before Python 3.13.
    for folder, _, files in os.walk(store):
        for file in files:
            with contextlib.suppress(OSError):
                size += Path(folder, file).stat().st_size
    return size


def describe(limits: TopologySettings) -> str:
    """Describe the streams' limits for users."""
    return ", ".join(f"{stream} {getattr(limits, field) / GB:.1f} GB" for field, stream in STREAMS.items())


def as_fitted(limits: TopologySettings, streams: Mapping[str, StreamInfo]) -> TopologySettings:
    """Return the limits, but default ones stay as small as `tidegate up` made them on this disk."""
    usual = TopologySettings()
    have = {field: streams[stream].config.max_bytes for field, stream in STREAMS.items() if stream in streams}
    unset = [field for field in have if getattr(limits, field) == getattr(usual, field)]
    smaller = {field: size for field in unset if 0 < (size := have[field] or 0) < getattr(usual, field)}
    return replace(limits, **smaller)


def fitted(limits: TopologySettings, room: int, streams: Mapping[str, StreamInfo]) -> TopologySettings:
    """Return the limits in bytes, reduced proportionally if the disk has no room for all of them.

    A configured limit, one that is not the default, stays as it is. None falls below its stream's content: a disk that
    others fill is no reason to delete events. Raises SettingError if the configured ones exceed the room together, and
    one of them is new.
    """
    usual = TopologySettings()
    requested = {field: getattr(limits, field) for field in STREAMS}
    chosen = {field: size for field, size in requested.items() if size != getattr(usual, field)}
    unset = {field: size for field, size in requested.items() if field not in chosen}
    have = {field: streams[stream] for field, stream in STREAMS.items() if stream in streams}
    left = room - sum(chosen.values())
    if left < 0 and any(field not in have or have[field].config.max_bytes != size for field, size in chosen.items()):
        named = " and ".join(f"{field.upper()}={size}" for field, size in chosen.items())
        raise SettingError(f"{named}: more than this disk has room for; give at most {room} in all")
    if not unset or sum(unset.values()) <= left:
        return limits
    share = max(0, left) / sum(unset.values())
    stored = {field: have[field].state.bytes if field in have else 0 for field in unset}
    return replace(limits, **{field: max(int(share * size), stored[field], LEAST) for field, size in unset.items()})
