"""`tidegate dlq`: dead letters: look at them, and try them again."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from nats.aio.client import Client
from rich.table import Table

from shared.runtime.errors import SettingError
from tidegate.commands.options import data_option, screen, with_admin


@click.group()
def dlq() -> None:
    """What could not be processed: look at it, and try it again."""


@dlq.command("list")
@data_option
@click.option("--service", help="Of this service alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, without payloads.")
def dlq_list(data: Path | None, service: str | None, as_json: bool) -> None:
    """Show dead letters, and why they died."""
    from tidegate.client.dlq import letters

    async def work(client: Client) -> None:
        table = Table("letter", "service", "of", "subject", "bytes", "tries", "reason")
        async for x in letters(client.jetstream(), service):
            size = "expired" if x.payload is None else str(len(x.payload))
            if as_json:
                row = msgspec.to_builtins(x) | {"payload": None, "bytes": len(x.payload or b"")}
                click.echo(msgspec.json.encode(row).decode())
            else:
                of = f"{x.stream}/{x.stream_seq}"
                table.add_row(str(x.seq), x.service, of, x.subject, size, str(x.deliveries), x.reason)
        if not as_json:
            screen().print(table if table.row_count else "no dead letters")

    with_admin(data, work)


@dlq.command("replay")
@data_option
@click.argument("letter", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All letters.")
@click.option("--service", help="With --all: of this service alone.")
def dlq_replay(data: Path | None, letter: tuple[int, ...], every: bool, service: str | None) -> None:
    """Put LETTERs back to work, for the service that gave them up alone.

    Each is published to its own subject again: other services of Tidegate pass over it, and subscribers of your own see
    it once more, an event with the same ce-id.
    """
    from tidegate.client.dlq import letters, replay

    if not letter and not every:
        raise SettingError("say which: the numbers that 'tidegate dlq list' shows, or --all")

    async def work(client: Client) -> None:
        js = client.jetstream()
        found = [x async for x in letters(js, service) if every or x.seq in letter]
        for missing in set(letter) - {x.seq for x in found}:
            click.echo(f"letter {missing}: not there", err=True)
        for x in found:
            click.echo(f"letter {x.seq}: sequence {await replay(client, js, x)} of {x.stream} for {x.service}")

    with_admin(data, work)
