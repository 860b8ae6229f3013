"""Entries of buckets that hold secrets: a former value is overwritten on disk, where a purge would leave it.

Example:
    await write(js, "credentials", "lobby", value)      # None deletes it
"""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.errors import APIError, BucketNotFoundError, KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from shared.contract import names
from shared.contract.reading.missing import read_entry
from shared.runtime.errors import BusError

# Passwords of cameras, and the secret of the site's webhook.
BUCKETS = (names.CREDENTIALS, names.ENDPOINT)


async def write(js: JetStreamContext, bucket: str, key: str, value: bytes | None) -> None:
    """Write or delete an entry, after its former value is overwritten on disk. Raises BusError."""
    kv = await bind(js, bucket)
    try:
        await _erase(js, kv, bucket, key)
        if value is None:
            await kv.delete(key)
    except KeyNotFoundError:
        pass
    if value is not None:
        await kv.put(key, value)


async def bind(js: JetStreamContext, bucket: str) -> KeyValue:
    """Return the bucket, made by `tidegate setup`. Raises BusError if it is missing."""
    try:
        return await js.key_value(bucket)
    except (BucketNotFoundError, NotFoundError) as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e


async def _erase(js: JetStreamContext, kv: KeyValue, bucket: str, key: str) -> None:
    """Overwrite an entry on disk. Raises KeyNotFoundError if there is none."""
    revision = (await read_entry(js, kv, bucket, key)).revision
    try:
        await js.delete_msg(f"KV_{bucket}", revision or 0)
    except APIError as e:
        # Another process may have erased it since: nats-server reports that under several codes.
        if (await read_entry(js, kv, bucket, key)).revision != revision:
            return
        raise BusError(
            f"an old secret in bucket {bucket} can't be erased ({e.description}): run 'tidegate setup', and then this "
            "again"
        ) from e
