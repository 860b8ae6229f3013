"""Tells a missing message from one that the server can't read.

A server that can't open its files answers 404 for whatever it would have to read from them (nats-server 2.15.1). It
knows the subjects of a stream without reading.
"""

from __future__ import annotations

from collections.abc import Collection

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

# A read that finds nothing each time, though the subject is stored, is no race with a writer.
_READS = 5


class Unread(nats.errors.Error):
    """The server stores a message that it reports as missing: a later request may succeed."""


async def stored_subjects(js: JetStreamContext, stream: str, subject: str) -> set[str]:
    """Return the stored subjects of a stream that match `subject`; at most 100,000.

    Raises NotFoundError if there is no such stream; nats.errors.Error or TimeoutError if the server does not answer.
    """
    return set((await js.stream_info(stream, subjects_filter=subject)).state.subjects or {})


def check_read(stream: str, wanted: Collection[str], found: Collection[str]) -> None:
    """Raise Unread if the stream has messages on subjects for which none were found."""
    if missing := set(wanted) - set(found):
        raise _unread(stream, missing)


async def read_entry(js: JetStreamContext, bucket: KeyValue, name: str, key: str) -> KeyValue.Entry:
    """Return a key's entry from the bucket called `name`, also while others write or erase it.

    Raises KeyNotFoundError if the bucket has none; Unread if it has one that can't be read; otherwise as
    `stored_subjects` does.
    """
    stream = f"KV_{name}"
    stored: set[str] = set()
    for _ in range(_READS):
        try:
            return await bucket.get(key)
        except KeyNotFoundError as e:
            # A deleted key has an entry that marks the deletion.
            if e.entry is not None:
                raise
            # A subject that is stored now may have been written after the read.
            stored = await stored_subjects(js, stream, f"$KV.{name}.{key}")
            if not stored:
                raise
    raise _unread(stream, stored)


def _unread(stream: str, subjects: Collection[str]) -> Unread:
    return Unread(f"{len(subjects)} of the entries of {stream} were not read: can its server open its files?")


async def check_readable(js: JetStreamContext, stream: str, subject: str) -> None:
    """Check that the first message on `subject`, which may have wildcards, can be read; the stream has one.

    This needs no right to the stream's state. Raises Unread if not; nats.errors.Error or TimeoutError if the server
    does not answer.
    """
    try:
        await js.get_msg(stream, 1, subject, direct=True, next=True)
    except NotFoundError as e:
        raise Unread(f"nothing of {stream} can be read: can its server open its files?") from e
