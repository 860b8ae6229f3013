"""Whether what is answered to be missing is gone, or the server can't read it.

A server that can't open its files answers 404 for whatever it would have to read from them (nats-server 2.15.1). Which
subjects a stream has it knows without reading.
"""

from __future__ import annotations

from collections.abc import Collection

import nats.errors
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError


class Unreadable(nats.errors.Error):
    """A server has what it answers to be missing: it may give it later."""


async def check_missing(js: JetStreamContext, stream: str, subject: str, found: Collection[str] = ()) -> None:
    """Make sure that the stream has nothing on `subject`, which may have wildcards, but on those that were found.

    Raises Unreadable where it has, also where that came meanwhile; nats.errors.Error or TimeoutError if the server does
    not answer.
    """
    state = (await js.stream_info(stream, subjects_filter=subject)).state
    unread = (state.subjects or {}).keys() - set(found)
    if unread:
        raise Unreadable(f"{stream} has {len(unread)} entries that were not read: can its server open its files?")


async def check_readable(js: JetStreamContext, stream: str, subject: str) -> None:
    """Make sure that anything on `subject`, which may have wildcards, can be read of a stream that has something on it.

    The right to ask for the stream's state is not needed. Raises Unreadable where nothing can; nats.errors.Error or
    TimeoutError if the server does not answer.
    """
    try:
        await js.get_msg(stream, 1, subject, direct=True, next=True)
    except NotFoundError as e:
        raise Unreadable(f"nothing of {stream} can be read: can its server open its files?") from e
