"""What the dead-letter stream holds, and how it is put back to work.

A letter is what its service says, and replaying is done with all rights. So a letter leads to its own service alone: to
a subject that this service takes, and, while the original is kept, with what its stream holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared import bus
from shared.bus import direct
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import catalog, deadletters, names
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BusError

# A replay that is not stored for this long is given up.
PATIENCE_S = 10.0


class Unreplayable(BusError):
    """A letter that its service would not take, or that is not what it says."""


# Is told of how many sequences of how many have been read.
Tell = Callable[[int, int], None]


async def letters(client: Client, service: str | None = None, tell: Tell | None = None) -> AsyncIterator[DeadLetter]:
    """All dead letters there are now, oldest first; of one service where it is named.

    What its workers died on has no burial, only JetStream's advisory. The message itself is read from its stream, as
    long as it is kept there.
    """
    try:
        state = (await client.jetstream().stream_info(names.DLQ)).state
    except NotFoundError as e:
        raise BusError("stream DLQ is missing: run 'tidegate setup'") from e
    seq = state.first_seq
    async with Log(client, names.DLQ) as log:
        while seq <= state.last_seq and (found := await log.read(">", seq)):
            for stored in found:
                letter = _read(stored)
                if service in (None, letter.service):
                    yield await _completed(client, letter)
            seq = found[-1].seq + 1
            if tell:
                tell(seq - state.first_seq, state.last_seq - state.first_seq + 1)


async def read(client: Client, stored: Stored) -> DeadLetter:
    """The letter that is stored in DLQ."""
    return await _completed(client, _read(stored))


async def find(client: Client, seq: int) -> DeadLetter | None:
    """The letter at a sequence of DLQ."""
    try:
        return await read(client, await direct.get(client, names.DLQ, seq=seq))
    except NotFoundError:
        return None


async def replay(client: Client, letter: DeadLetter) -> int:
    """Publish a letter to its subject again, for its service alone; delete it from DLQ; return the new sequence.

    Raises Unreplayable where the message itself is gone, where its service does not take it, and where it is not what
    its stream holds; BusError where it is not stored.
    """
    if letter.payload is None or not letter.subject:
        raise Unreplayable(
            f"letter {letter.seq} can't be replayed: sequence {letter.stream_seq} of {letter.stream!r} has expired, or "
            f"{letter.service} does not take it"
        )
    letter = await _checked(client, letter)
    headers = deadletters.replay_headers(letter)
    js = client.jetstream()
    ack = await bus.publish(client, js, letter.subject, letter.payload or b"", headers, patience_s=PATIENCE_S)
    await js.delete_msg(names.DLQ, letter.seq)
    return ack.seq


def _read(stored: Stored) -> DeadLetter:
    return deadletters.read(stored.seq, stored.subject, stored.headers, stored.data)


async def _completed(client: Client, letter: DeadLetter) -> DeadLetter:
    """With the original, where the letter has only a reference to it."""
    if letter.payload is not None:
        return letter
    original = await _original(client, letter)
    if original is None:
        return letter
    return deadletters.with_original(letter, original.subject, original.headers, original.data)


async def _original(client: Client, letter: DeadLetter) -> Stored | None:
    """What a letter is of; None where it is gone, or is nothing that the letter's service takes.

    Which stream is read, and which sequence, is what the letter says: no service may have others read to it.
    """
    if not letter.stream_seq or not any(c.stream == letter.stream for c in _consumers(letter.service)):
        return None
    try:
        stored = await direct.get(client, letter.stream, seq=letter.stream_seq)
    except NotFoundError:
        return None
    return stored if catalog.takes(letter.service, letter.stream, stored.subject) else None


def _consumers(service: str) -> list[catalog.Consumer]:
    return [c for s in catalog.services() if s.name == service for c in s.consumers]


async def _checked(client: Client, letter: DeadLetter) -> DeadLetter:
    """The letter as it may be replayed. Raises Unreplayable."""
    refused = f"letter {letter.seq} can't be replayed: "
    if not _consumers(letter.service):
        raise Unreplayable(f"{refused}{letter.service!r} has no consumer that would take it again")
    if not catalog.takes(letter.service, letter.stream, letter.subject):
        raise Unreplayable(
            f"{refused}{letter.service} takes nothing on {letter.subject!r} of {letter.stream!r} and buries no such "
            "a message. Whoever wrote it has that service's password: change it"
        )
    original = await _original(client, letter)
    if original and (original.subject, original.data) == (letter.subject, letter.payload):
        return deadletters.with_original(letter, original.subject, original.headers, original.data)
    if letter.stream == names.EVENTS:
        raise Unreplayable(
            f"{refused}EVENTS has no such message at sequence {letter.stream_seq}, or no longer. Apps hear what is "
            "replayed there, and a letter alone does not show that it was said"
        )
    return letter
