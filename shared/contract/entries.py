"""Every entry of a KV bucket, read one after the other from the stream's leader.

nats-py's `keys()` asks a consumer, and takes one that has sent everything already for one that has nothing to send: now
and then it says that a full bucket is empty. Where that decides what is deleted, passwords would be lost.
"""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.contract.missing import check_read, kept
from shared.runtime.errors import BusError


async def entries(js: JetStreamContext, bucket: str) -> dict[str, bytes]:
    """Each key and its value, in the order in which they were written; keys that were deleted are left out.

    Raises BusError where there is no such bucket, Unread where its server can't read it, nats.errors.Error or
    TimeoutError where nobody answers.
    """
    stream, prefix = f"KV_{bucket}", f"$KV.{bucket}."
    try:
        wanted = await kept(js, stream, f"{prefix}>")
    except NotFoundError as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e
    found: dict[str, bytes] = {}
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
            found[key] = raw.data or b""
        seq = (raw.seq or seq) + 1
