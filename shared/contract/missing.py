"""Whether what is answered to be missing is gone, or the server can't read it.

A server that can't open its files answers 404 for whatever it would have to read from them (nats-server 2.15.1). Which
subjects a stream has it knows without reading.
"""

from __future__ import annotations

from collections.abc import Collection

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError, NotFoundError


class Unread(nats.errors.Error):
    """A server has what it answers to be missing: it may give it later."""


async def kept(js: JetStreamContext, stream: str, subject: str) -> set[str]:
    """The subjects that a stream has something on, of those that `subject` matches; 100,000 at most.

    Raises NotFoundError where there is no such stream; nats.errors.Error or TimeoutError if the server does not answer.
    """
    return set((await js.stream_info(stream, subjects_filter=subject)).state.subjects or {})


def check_read(stream: str, wanted: Collection[str], found: Collection[str]) -> None:
    """Raises Unread where the stream has something on subjects on which nothing was found."""
    if missing := set(wanted) - set(found):
        raise Unread(f"{len(missing)} of the entries of {stream} were not read: can its server open its files?")


async def check_no_key(js: JetStreamContext, bucket: str, key: str, error: KeyNotFoundError) -> None:
    """Make sure that a bucket has nothing of a key, which a get has answered with `error`. Raises as those two do."""
    # A key that was deleted has an entry that says so.
    if error.entry is None:
        stream = f"KV_{bucket}"
        check_read(stream, await kept(js, stream, f"$KV.{bucket}.{key}"), ())


async def check_readable(js: JetStreamContext, stream: str, subject: str) -> None:
    """Make sure that the first on `subject`, which may have wildcards, can be read: the stream has something on it.

    The right to ask for the stream's state is not needed. Raises Unread where it can't; nats.errors.Error or
    TimeoutError if the server does not answer.
    """
    try:
        await js.get_msg(stream, 1, subject, direct=True, next=True)
    except NotFoundError as e:
        raise Unread(f"nothing of {stream} can be read: can its server open its files?") from e
