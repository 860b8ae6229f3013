"""Dead letters of a camera, by the subject of the message in each."""

from __future__ import annotations

import datetime as dt

from nats.aio.client import Client

from shared.bus.direct import Stored
from shared.client import dlq
from shared.contract import names
from shared.contract.deadletters import DeadLetter
from tidegate.erasing.messages import Message, Tell
from tidegate.erasing.scope import Scope, camera_of, span_of

_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


async def find(client: Client, scope: Scope, tell: Tell) -> list[Message]:
    """Return the letters of a camera. A report of the server counts while its message is stored.

    Raises BusError, nats.errors.Error or TimeoutError.
    """
    found: list[Message] = []

    def progress(read: int, of: int) -> None:
        tell(f"{names.DLQ}: {read:,} of {of:,} letters read")

    async for letter in dlq.entries(client, tell=progress):
        if _is_of(letter, scope):
            found.append(Message(letter.seq, len(letter.payload or b"")))
    return found


def _is_of(letter: DeadLetter, scope: Scope) -> bool:
    """Whether a letter is in the scope. One whose time can't be read is."""
    if camera_of(letter.subject) != scope.camera:
        return False
    stored = Stored(letter.seq, letter.subject, _NEVER, letter.headers, letter.payload or b"")
    span = span_of(stored)
    return scope.is_whole or span.start == _NEVER or scope.takes(span)
