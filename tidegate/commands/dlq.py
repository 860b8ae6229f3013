"""`tidegate dlq`: dead letters, which can be looked at and tried again."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from nats.aio.client import Client

from shared.runtime.errors import BusError, SettingError
from tidegate.client.dlq import letters, replay
from tidegate.commands import Group
from tidegate.commands.options import data_option, screen, with_admin
from tidegate.view import records
from tidegate.view.records import Right, Wrapped

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
        async for x in letters(client.jetstream(), service):
            if as_json:
                row = msgspec.to_builtins(x) | {"payload": None, "bytes": len(x.payload or b"")}
                click.echo(msgspec.json.encode(row).decode())
                continue
            size = "expired" if x.payload is None else str(len(x.payload))
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
    it once more, an event with the same ce-id.
    """
    if not letter and not every:
        raise SettingError("say which: the numbers that 'tidegate dlq list' shows, or --all")

    async def work(client: Client) -> None:
        js = client.jetstream()
        found = [x async for x in letters(js, service) if every or x.seq in letter]
        failed = [f"there is no letter {seq}" for seq in sorted(set(letter) - {x.seq for x in found})]
        for x in found:
            try:
                click.echo(f"letter {x.seq}: sequence {await replay(client, js, x)} of {x.stream} for {x.service}")
            except BusError as e:
                failed.append(str(e))
        if failed:
            raise BusError(f"{'; '.join(failed)}: 'tidegate dlq list' shows what is there")
        if not found:
            click.echo("no dead letters", err=True)

    with_admin(data, work)
