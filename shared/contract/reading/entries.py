"""Every entry of a KV bucket, read sequentially from the stream's leader.

nats-py's `keys()` asks a consumer, and sometimes takes one that has sent everything for one that has nothing to send:
it reports a full bucket as empty. Where that decides deletions, passwords would be lost.
"""

from __future__ import annotations

from typing import NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.contract.reading.missing import check_read, stored_subjects
from shared.runtime.errors import BusError


class Entry(NamedTuple):
    """The value of a key, and its revision."""

    value: bytes
    revision: int


async def entries(js: JetStreamContext, bucket: str) -> dict[str, bytes]:
    """Return each key and its value. Otherwise as `entries_with_revisions`."""
    return {key: entry.value for key, entry in (await entries_with_revisions(js, bucket)).items()}


async def entries_with_revisions(js: JetStreamContext, bucket: str) -> dict[str, Entry]:
    """Return each key and its entry, in the order of writing, without deleted keys.

    Raises BusError if there is no such bucket, Unread if its server can't read it, nats.errors.Error or TimeoutError if
    no server answers.
    """
    stream, prefix = f"KV_{bucket}", f"$KV.{bucket}."
    try:
        wanted = await stored_subjects(js, stream, f"{prefix}>")
    except NotFoundError as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e
    found: dict[str, Entry] = {}
    read: set[str] = set()
    seq = 1
    while True:
        try:
            raw = await js.get_msg(stream, seq, f"{prefix}>", next=True)
        except NotFoundError:
            check_read(stream, wanted, read)
            return found
        read.add(raw.subject or "")
        key = (raw.subject or "").removeprefix(prefix)
        found.pop(key, None)
        if (raw.headers or {}).get("KV-Operation") not in ("DEL", "PURGE"):
            found[key] = Entry(raw.data or b"", raw.seq or 0)
        seq = (raw.seq or seq) + 1
