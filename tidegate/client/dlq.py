"""What the dead-letter stream holds, and how it is put back to work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from shared import bus
from shared.contract import deadletters, names
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BusError


async def letters(js: JetStreamContext, service: str | None = None) -> AsyncIterator[DeadLetter]:
    """All dead letters, oldest first; of one service where it is named.

    What its workers died on has no burial, only JetStream's advisory. The message itself is read from its stream, as
    long as it is kept there.
    """
    try:
        state = (await js.stream_info(names.DLQ)).state
    except NotFoundError as e:
        raise BusError("stream DLQ is missing: run 'tidegate setup'") from e
    seq = state.first_seq
    while seq <= state.last_seq:
        try:
            raw = await js.get_msg(names.DLQ, seq, ">", direct=True, next=True)
        except NotFoundError:
            return
        letter = deadletters.read(raw.seq or seq, raw.subject or "", raw.headers, raw.data or b"")
        if letter.payload is None:
            letter = await _with_original(js, letter)
        if service in (None, letter.service):
            yield letter
        seq = letter.seq + 1


async def _with_original(js: JetStreamContext, letter: DeadLetter) -> DeadLetter:
    try:
        raw: RawStreamMsg = await js.get_msg(letter.stream, letter.stream_seq, direct=True)
    except NotFoundError:
        return letter
    kept = {k: v for k, v in (raw.headers or {}).items() if not k.startswith("Nats-")}
    return msgspec.structs.replace(letter, subject=raw.subject or "", headers=kept, payload=raw.data or b"")


async def replay(client: Client, js: JetStreamContext, letter: DeadLetter) -> int:
    """Publish a letter to its subject again, for its service alone; delete it from DLQ; return the new sequence.

    Raises BusError if the message itself is gone.
    """
    if letter.payload is None or not letter.subject:
        raise BusError(
            f"letter {letter.seq} can't be replayed: sequence {letter.stream_seq} of {letter.stream} has expired"
        )
    headers = deadletters.replay_headers(letter)
    ack = await bus.publish(client, js, letter.subject, letter.payload, headers)
    await js.delete_msg(names.DLQ, letter.seq)
    return ack.seq
