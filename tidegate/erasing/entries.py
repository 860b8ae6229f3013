"""Entries of buckets: found by key, and erased so that the server overwrites them and every reader notices.

An entry is deleted, then a marker tells those that mirror the bucket, then the marker is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client

from tidegate.erasing import messages
from tidegate.erasing.messages import Message, Tell, Undeletable
from tidegate.erasing.scope import Scope

_PREFIX = "$KV."
_MARKER = {"KV-Operation": "DEL"}


def stream(bucket: str) -> str:
    """Return the stream of a bucket."""
    return f"KV_{bucket}"


async def find(client: Client, bucket: str, subjects: Sequence[str], tell: Tell) -> dict[int, tuple[str, int]]:
    """Return the subject and size of each entry, by sequence; deletion markers among them.

    subjects: below `$KV.<bucket>.`. Raises nats.errors.Error or TimeoutError.
    """
    found: dict[int, tuple[str, int]] = {}
    full = [f"{_PREFIX}{bucket}.{subject}" for subject in subjects]
    await messages.find(
        client,
        stream(bucket),
        full,
        Scope(""),
        tell,
        lambda one: found.update({one.seq: (one.subject, len(one.data))}),
    )
    return found


async def erase(client: Client, bucket: str, found: dict[int, tuple[str, int]], tell: Tell) -> str:
    """Erase entries; return what stays of them in the server's file, if anything.

    Raises BusError, nats.errors.Error or TimeoutError.
    """
    of = stream(bucket)
    remark = ""
    try:
        await messages.delete(client, of, [Message(seq, size) for seq, (_, size) in found.items()], tell)
    except Undeletable:
        remark = (
            "an earlier version created this bucket, which lets nothing be overwritten: erased entries stay in the "
            "server's file until it rewrites that"
        )
    subjects = sorted({subject for subject, _ in found.values()})
    markers = [await client.jetstream().publish(s, b"", headers=_MARKER) for s in subjects]
    if remark:
        await messages.purge(client, of, subjects)
    else:
        await messages.delete(client, of, [Message(marker.seq, 0) for marker in markers], tell)
    return remark


def incident_of(subject: str) -> str:
    """Return the incident of a review, `$KV.reviews.reviewed.<person>.<incident>`; empty for another key."""
    return subject.split(".", 4)[4] if subject.count(".") >= 4 else ""
