"""The contents of the dead-letter stream, their replay and its outcome, and their removal.

Only the service vouches for a dead letter, and a replay runs with all rights. So a replay goes only to that service: to
a subject that it takes and, while the original exists, with the content of its stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from shared import bus
from shared.bus import direct, infos
from shared.bus.direct import Stored
from shared.bus.infos import Missing
from shared.bus.log import Log
from shared.contract import catalog, deadletters, names
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BusError

# A replay that is not stored within this time fails.
PATIENCE_S = 10.0
# The interval at which the outcome of replays is read.
POLL_S = 0.25


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """letter: as it was, without its payload. seq: of the message that replays it, in its stream."""

    letter: DeadLetter
    seq: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """came_back: replays with their new dead letters. processed: the number of replays that were acknowledged. waiting:
    that of all others.
    """

    came_back: list[tuple[Replay, DeadLetter]]
    processed: int
    waiting: int


class Unreplayable(BusError):
    """A dead letter that its service would not take, or that differs from its original."""


# Progress: sequences read, and sequences in all.
Tell = Callable[[int, int], None]


async def entries(
    client: Client, service: str | None = None, tell: Tell | None = None, *, reason: str = "", after: int = 0
) -> AsyncIterator[DeadLetter]:
    """Yield all present dead letters, oldest first.

    service: only its letters. reason: only letters whose reason contains this text, in any case. after: only letters
    with a higher number.

    A message whose workers died on it has only JetStream's advisory. The message is read from its stream while it
    exists there.
    """
    try:
        state = (await client.jetstream().stream_info(names.DLQ)).state
    except NotFoundError as e:
        raise BusError("stream DLQ is missing: run 'tidegate setup'") from e
    first = seq = max(state.first_seq, after + 1)
    async with Log(client, names.DLQ) as log:
        while seq <= state.last_seq and (found := await log.read(">", seq)):
            for stored in found:
                entry = _read(stored)
                if service in (None, entry.service) and reason.casefold() in entry.reason.casefold():
                    yield await _completed(client, entry)
            seq = found[-1].seq + 1
            if tell:
                tell(seq - first, state.last_seq - first + 1)


async def read(client: Client, stored: Stored) -> DeadLetter:
    """Return the dead letter of a stored message of DLQ."""
    return await _completed(client, _read(stored))


async def find(client: Client, seq: int) -> DeadLetter | None:
    """Return the dead letter at a sequence of DLQ."""
    try:
        return await read(client, await direct.get(client, names.DLQ, seq=seq))
    except NotFoundError:
        return None


async def replay(client: Client, entry: DeadLetter) -> int:
    """Publish a dead letter to its subject again, for its service alone; delete it from DLQ; return the new sequence.

    Raises Unreplayable if the message has expired, its service does not take it, or it differs from its stream;
    BusError if it is not stored.
    """
    if entry.payload is None or not entry.subject:
        raise Unreplayable(
            f"letter {entry.seq} can't be replayed: sequence {entry.stream_seq} of {entry.stream!r} has expired, or "
            f"{entry.service} does not take it"
        )
    entry = await _checked(client, entry)
    headers = deadletters.replay_headers(entry)
    js = client.jetstream()
    ack = await bus.publish(client, js, entry.subject, entry.payload or b"", headers, patience_s=PATIENCE_S)
    await js.delete_msg(names.DLQ, entry.seq)
    return ack.seq


async def remove(client: Client, seq: int) -> None:
    """Delete a dead letter. Raises BusError if there is none."""
    try:
        await client.jetstream().delete_msg(names.DLQ, seq)
    except APIError as e:
        raise BusError(f"letter {seq} can't be removed: {e.description}") from e


async def last_seq(client: Client) -> int:
    """Return the number of the newest dead letter so far."""
    return (await client.jetstream().stream_info(names.DLQ)).state.last_seq


async def outcome(client: Client, replays: Sequence[Replay], after: int, wait_s: float) -> Outcome:
    """Return what became of some replays: once all are processed, or after `wait_s`.

    after: the newest dead letter before they were replayed. A letter is written before its message is acknowledged.
    """
    until = time.monotonic() + wait_s
    by_origin = {(r.letter.service, of): r for r in replays for of in (r.letter.of, f"{r.letter.stream}/{r.seq}")}
    back: dict[int, tuple[Replay, DeadLetter]] = {}
    while True:
        processed = {r.letter.seq for r in replays if await _is_processed(client, r)}
        async for letter in entries(client, after=after):
            after = letter.seq
            if replay := by_origin.get((letter.service, letter.of)):
                back[replay.letter.seq] = (replay, letter)
        if len(processed | back.keys()) == len(replays) or time.monotonic() >= until:
            break
        await asyncio.sleep(POLL_S)
    done = len(processed - back.keys())
    return Outcome(came_back=list(back.values()), processed=done, waiting=len(replays) - done - len(back))


async def _is_processed(client: Client, replay: Replay) -> bool:
    """Whether the service has acknowledged a replay, and all before it."""
    letter, floors = replay.letter, []
    for consumer in _consumers(letter.service):
        if consumer.stream == letter.stream and any(names.overlap(p, letter.subject) for p in consumer.filters):
            with contextlib.suppress(Missing):
                floors.append((await infos.consumer(client, consumer.stream, consumer.name)).ack_floor.stream_seq)
    return bool(floors) and min(floors) >= replay.seq


def _read(stored: Stored) -> DeadLetter:
    return deadletters.read(stored.seq, stored.subject, stored.headers, stored.data)


async def _completed(client: Client, entry: DeadLetter) -> DeadLetter:
    """Add the original if the dead letter has only a reference to it."""
    if entry.payload is not None:
        return entry
    original = await _original(client, entry)
    if original is None:
        return entry
    return deadletters.with_original(entry, original.subject, original.headers, original.data)


async def _original(client: Client, entry: DeadLetter) -> Stored | None:
    """Return the original of a dead letter; None if it has expired, or its service does not take it.

    The dead letter names the stream and the sequence: no service may read foreign messages this way.
    """
    if not entry.stream_seq or not any(c.stream == entry.stream for c in _consumers(entry.service)):
        return None
    try:
        stored = await direct.get(client, entry.stream, seq=entry.stream_seq)
    except NotFoundError:
        return None
    return stored if catalog.takes(entry.service, entry.stream, stored.subject) else None


def _consumers(service: str) -> list[catalog.Consumer]:
    return [c for s in catalog.services() if s.name == service for c in s.consumers]


async def _checked(client: Client, entry: DeadLetter) -> DeadLetter:
    """Return the dead letter as it may be replayed. Raises Unreplayable."""
    refused = f"letter {entry.seq} can't be replayed: "
    if not _consumers(entry.service):
        raise Unreplayable(f"{refused}{entry.service!r} has no consumer that would take it again")
    if not catalog.takes(entry.service, entry.stream, entry.subject):
        raise Unreplayable(
            f"{refused}{entry.service} takes nothing on {entry.subject!r} of {entry.stream!r} and buries no such "
            "a message. Whoever wrote it has that service's password: change it"
        )
    original = await _original(client, entry)
    if original and (original.subject, original.data) == (entry.subject, entry.payload):
        return deadletters.with_original(entry, original.subject, original.headers, original.data)
    if entry.stream == names.EVENTS:
        raise Unreplayable(
            f"{refused}EVENTS has no such message at sequence {entry.stream_seq}, or no longer. Apps hear what is "
            "replayed there, and a letter alone does not show that it was said"
        )
    return entry
