"""`tidegate dlq`: dead letters, which can be looked at and tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click
import msgspec
from nats.aio.client import Client

from shared.client import dlq as stored
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BusError, SettingError
from tidegate.commands import Group
from tidegate.commands.options import data_option, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo, echo_json
from tidegate.view.records import Right, Wrapped
from tidegate.view.waiting import telling

# So many letters that can't be replayed are told of, and the others counted.
MOST_TOLD = 5
FIELDS = (Right("letter"), "service", "of", "subject", Right("bytes"), Right("tries"), Wrapped("reason"))


@click.group(cls=Group)
def dlq() -> None:
    """Look at what could not be processed, and try it again.

    \b
    What died, and of what: tidegate dlq list
    Look at the video:      tidegate segment MEDIA/1234
    Try one again:          tidegate dlq replay 17
    """


@dlq.command("list")
@data_option
@click.option("--service", help="Show what this service gave up alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, without payloads.")
def dlq_list(data: Path | None, service: str | None, as_json: bool) -> None:
    """Show dead letters, and why they died.

    \b
    All of them:            tidegate dlq list
    Of a service:           tidegate dlq list --service cv
    Their numbers alone:    tidegate dlq list | cut -f1

    'of' is the stream and sequence of the message that died, for 'tidegate segment'.
    """

    async def work(client: Client) -> None:
        rows = []
        with telling() as tell:
            async for x in stored.entries(client, service, lambda n, of: tell(f"{n} of {of} dead letters read")):
                if as_json:
                    row = msgspec.to_builtins(msgspec.structs.replace(x, payload=None))
                    echo_json(row | {"bytes": len(x.payload or b"")})
                    continue
                size = "absent" if x.payload is None else str(len(x.payload))
                of = f"{x.stream}/{x.stream_seq}"
                rows.append((str(x.seq), x.service, of, x.subject, size, str(x.deliveries), x.reason))
        if not as_json:
            records.show(screen(), FIELDS, rows, "no dead letters")

    with_admin(data, work)


@dlq.command("replay")
@data_option
@click.argument("letter", type=click.IntRange(1), nargs=-1)
@click.option("--all", "every", is_flag=True, help="Replay all letters.")
@click.option("--service", help="With --all: replay what this service gave up alone.")
def dlq_replay(data: Path | None, letter: tuple[int, ...], every: bool, service: str | None) -> None:
    """Put LETTERs back to work, for the service that gave them up alone.

    \b
    One, or several:        tidegate dlq replay 17 18
    All of a service:       tidegate dlq replay --all --service cv

    Each is published to its own subject again: other services of Tidegate pass over it, and subscribers of your own see
    it once more, an event with the same ce-id. A letter on a subject that its service does not take is forged, and
    refused, as is an event that EVENTS does not hold.
    """
    if not letter and not every:
        raise SettingError("say which: the numbers that 'tidegate dlq list' shows, or --all")

    async def work(client: Client) -> None:
        failed = []
        some = False
        async for seq, found in _chosen(client, letter, every, service):
            if found is None:
                failed.append(f"there is no letter {seq}")
                continue
            some = True
            try:
                new = await stored.replay(client, found)
                echo(f"letter {seq}: sequence {new} of {found.stream} for {found.service}")
            except BusError as e:
                failed.append(str(e))
        if failed:
            more = f"; and {len(failed) - MOST_TOLD} more" if len(failed) > MOST_TOLD else ""
            raise BusError(f"{'; '.join(failed[:MOST_TOLD])}{more}: 'tidegate dlq list' shows what is there")
        if not some:
            echo("no dead letters", err=True)

    with_admin(data, work)


async def _chosen(
    client: Client, seqs: Sequence[int], every: bool, service: str | None
) -> AsyncIterator[tuple[int, DeadLetter | None]]:
    """The letters that were asked for, one in memory at a time, and None where there is none."""
    if every:
        async for found in stored.entries(client, service):
            yield found.seq, found
        return
    for seq in dict.fromkeys(seqs):
        yield seq, await stored.find(client, seq)
