"""`tidegate dlq`: list dead letters, and replay them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click
import msgspec
from nats.aio.client import Client

from shared.client import dlq as dead_letters
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BusError, SettingError
from tidegate.commands import Group
from tidegate.commands.options import connected, data_option, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo, echo_json
from tidegate.view.records import Right, Wrapped
from tidegate.view.waiting import telling

# Maximum number of failed replays to print; the others are counted.
MAX_ERRORS = 5
FIELDS = (Right("letter"), "service", "of", "subject", Right("bytes"), Right("tries"), Wrapped("reason"))


@click.group(cls=Group)
def dlq() -> None:
    """List dead letters, and replay them.

    \b
    Letters and reasons:    tidegate dlq list
    Save the video of one:  tidegate segment MEDIA/1234
    Replay one:             tidegate dlq replay 17
    """


@dlq.command("list")
@connected
@click.option("--service", help="Service whose dead letters to list. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, without payloads.")
async def dlq_list(client: Client, service: str | None, as_json: bool) -> None:
    """List dead letters with their reasons.

    \b
    All of them:            tidegate dlq list
    Those of a service:     tidegate dlq list --service cv
    Only their numbers:     tidegate dlq list | cut -f1

    The column 'of' is the stream and sequence of the original message, for 'tidegate segment'.
    """
    rows = []
    with telling() as tell:
        async for entry in dead_letters.entries(client, service, lambda n, of: tell(f"{n} of {of} dead letters read")):
            if as_json:
                row = msgspec.to_builtins(msgspec.structs.replace(entry, payload=None))
                echo_json(row | {"bytes": len(entry.payload or b"")})
                continue
            size = "absent" if entry.payload is None else str(len(entry.payload))
            of = f"{entry.stream}/{entry.stream_seq}"
            rows.append((str(entry.seq), entry.service, of, entry.subject, size, str(entry.deliveries), entry.reason))
    if not as_json:
        records.show(screen(), FIELDS, rows, "no dead letters")


@dlq.command("replay")
@data_option
@click.argument("letter", type=click.IntRange(1), nargs=-1)
@click.option("--all", "every", is_flag=True, help="Replay all dead letters.")
@click.option("--service", help="With --all: service whose dead letters to replay. Default: all.")
def dlq_replay(data: Path | None, letter: tuple[int, ...], every: bool, service: str | None) -> None:
    """Replay LETTERs, only for the service that dead-lettered them.

    \b
    One, or several:        tidegate dlq replay 17 18
    All of a service:       tidegate dlq replay --all --service cv

    The command publishes each message to its original subject. Tidegate's other services skip it; your own subscribers
    receive it again, an event with the same ce-id. It refuses forged letters: on a subject that the service does not
    consume, or with an event that EVENTS does not store.
    """
    if not letter and not every:
        raise SettingError("say which: the numbers that 'tidegate dlq list' shows, or --all")

    async def work(client: Client) -> None:
        errors = []
        any_replayed = False
        async for seq, entry in _select(client, letter, every, service):
            if entry is None:
                errors.append(f"there is no letter {seq}")
                continue
            any_replayed = True
            try:
                new = await dead_letters.replay(client, entry)
                echo(f"letter {seq}: sequence {new} of {entry.stream} for {entry.service}")
            except BusError as e:
                errors.append(str(e))
        if errors:
            more = f"; and {len(errors) - MAX_ERRORS} more" if len(errors) > MAX_ERRORS else ""
            raise BusError(f"{'; '.join(errors[:MAX_ERRORS])}{more}: 'tidegate dlq list' shows what is there")
        if not any_replayed:
            echo("no dead letters", err=True)

    with_admin(data, work)


async def _select(
    client: Client, sequences: Sequence[int], every: bool, service: str | None
) -> AsyncIterator[tuple[int, DeadLetter | None]]:
    """Yield the selected letters, one in memory at a time; None if a number does not exist."""
    if every:
        async for entry in dead_letters.entries(client, service):
            yield entry.seq, entry
        return
    for seq in dict.fromkeys(sequences):
        yield seq, await dead_letters.find(client, seq)
