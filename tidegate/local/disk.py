"""What the streams of a server on this machine may hold: the limits of the settings, or less where the disk is smaller.

The limits are made for a server's disk: 22 GB in all.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace
from nats.js.api import StreamInfo

from shared.contract import names
from shared.contract.topology import GB, MB, TopologySettings
from shared.runtime.errors import SettingError

# The rest is for logs, the search index and other programs.
SHARE = 0.75
LEAST = 64 * MB
# The settings that limit a stream's bytes, and the stream.
STREAMS = {"media_max_bytes": names.MEDIA, "events_max_bytes": names.EVENTS, "dlq_max_bytes": names.DLQ}


def room(store: Path) -> int:
    """Bytes that streams may be promised in this folder, where what they hold already counts as free."""
    held = 0
    for path in store.rglob("*"):
        # JetStream may delete it in this moment.
        with contextlib.suppress(OSError):
            held += path.stat().st_size
    folder = next(path for path in (store, *store.parents) if path.exists())
    return int(SHARE * (shutil.disk_usage(folder).free + held))


def said(limits: TopologySettings) -> str:
    """What the streams may hold, for people."""
    return ", ".join(f"{stream} {getattr(limits, field) / GB:.1f} GB" for field, stream in STREAMS.items())


def fitted(limits: TopologySettings, room: int, streams: Mapping[str, StreamInfo]) -> TopologySettings:
    """The limits in bytes, each smaller by the same share where the disk has no room for all of them.

    A limit that somebody has chosen stays as it is. None falls below what its stream holds: a disk that others fill is
    no reason to delete events. Raises SettingError where what was chosen is more than the room, and new.
    """
    usual = TopologySettings()
    asked = {field: getattr(limits, field) for field in STREAMS}
    open_ = {field: size for field, size in asked.items() if size == getattr(usual, field)}
    left = room
    for field, size in asked.items():
        if field not in open_:
            left -= size
            there = streams.get(STREAMS[field])
            if size > room and not (there and there.config.max_bytes == size):
                raise SettingError(f"{field.upper()}={size} is more than this disk has room for: give at most {room}")
    if not open_ or sum(open_.values()) <= left:
        return limits
    share = max(0, left) / sum(open_.values())
    held = {field: streams[stream].state.bytes for field, stream in STREAMS.items() if stream in streams}
    return replace(limits, **{f: max(int(share * size), held.get(f, 0), LEAST) for f, size in open_.items()})
