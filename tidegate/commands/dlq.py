"""`tidegate dlq`: list, replay and remove dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import click
import msgspec
from nats.aio.client import Client

from shared.client import dlq as dead_letters
from shared.client.dlq import Replay
from shared.contract.deadletters import DeadLetter
from shared.runtime.errors import BusError, SettingError
from tidegate.commands import Group
from tidegate.commands.options import Number, combined, connected, data_option, screen, with_admin
from tidegate.view import records
from tidegate.view.inert import echo, echo_json, one_line
from tidegate.view.records import Right, Wrapped
from tidegate.view.waiting import telling, waited_for
from tidegate.view.words import counted

# Maximum number of failures to print; the others are counted.
MAX_ERRORS = 5
FIELDS = (Right("letter"), "service", "of", "subject", Right("bytes"), Right("tries"), Wrapped("reason"))


@click.group(cls=Group)
def dlq() -> None:
    """List, replay and remove dead letters: messages that a service could not process.

    \b
    Letters and reasons:    tidegate dlq list
    Save the video of one:  tidegate segment MEDIA/1234
    Replay one:             tidegate dlq replay 17
    Remove one:             tidegate dlq remove 17
    """


@dlq.command("list")
@connected
@click.option("--service", help="Service whose dead letters to list. Default: all.")
@click.option("--reason", default="", help="Text that the reason contains, in any case. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, without payloads.")
async def dlq_list(client: Client, service: str | None, reason: str, as_json: bool) -> None:
    """List dead letters with their reasons.

    \b
    All of them:            tidegate dlq list
    Those of a service:     tidegate dlq list --service cv
    Only their numbers:     tidegate dlq list | cut -f1

    The column 'of' is the stream and sequence of the original message, for 'tidegate segment'.
    """
    rows = []
    with telling() as tell:
        async for entry in dead_letters.entries(client, service, _progress(tell), reason=reason):
            if as_json:
                row = msgspec.to_builtins(msgspec.structs.replace(entry, payload=None))
                echo_json(row | {"bytes": len(entry.payload or b"")})
                continue
            size = "absent" if entry.payload is None else str(len(entry.payload))
            of = f"{entry.stream}/{entry.stream_seq}"
            rows.append((str(entry.seq), entry.service, of, entry.subject, size, str(entry.deliveries), entry.reason))
    if not as_json:
        records.show(screen(), FIELDS, rows, "no dead letters")


selection = combined(
    data_option,
    click.argument("letter", type=click.IntRange(1), nargs=-1),
    click.option("--all", "every", is_flag=True, help="Take all dead letters."),
    click.option("--service", help="With --all: service whose dead letters to take. Default: all."),
    click.option("--reason", default="", help="With --all: text that the reason contains, in any case. Default: all."),
)


@dlq.command("replay")
@selection
@click.option(
    "--wait",
    type=Number(0, 600),
    default=10,
    show_default=True,
    help="Maximum seconds to wait for the outcome; 0: do not wait.",
)
def dlq_replay(
    data: Path | None, letter: tuple[int, ...], every: bool, service: str | None, reason: str, wait: float
) -> None:
    """Replay LETTERs, only for the service that dead-lettered them, and report which came back.

    \b
    One, or several:        tidegate dlq replay 17 18
    All of a service:       tidegate dlq replay --all --service cv
    All of a cause:         tidegate dlq replay --all --reason "out of memory"

    The command publishes each message to its original subject. Tidegate's other services skip it; your own subscribers
    receive it again, an event with the same ce-id. It refuses forged letters: on a subject that the service does not
    consume, or with an event that EVENTS does not store.
    """
    wanted = _Selection(letter, every, service, reason)

    async def work(client: Client) -> None:
        errors = []
        replays: list[Replay] = []
        after = await dead_letters.last_seq(client)
        async for seq, entry in wanted.letters(client):
            if entry is None:
                errors.append(f"there is no letter {seq}")
                continue
            try:
                new = await dead_letters.replay(client, entry)
            except BusError as e:
                errors.append(str(e))
                continue
            replays.append(Replay(letter=msgspec.structs.replace(entry, payload=None), seq=new))
            echo(f"letter {seq}: sequence {new} of {entry.stream} for {entry.service}")
        if replays and wait:
            errors += await _outcome(client, replays, after, wait)
        _raise(errors)
        if not replays:
            echo("no dead letters", err=True)

    with_admin(data, work)


@dlq.command("remove")
@selection
@click.option("--dry-run", is_flag=True, help="Print the dead letters, and remove none.")
def dlq_remove(
    data: Path | None, letter: tuple[int, ...], every: bool, service: str | None, reason: str, dry_run: bool
) -> None:
    """Remove LETTERs: their messages are not processed any more.

    \b
    One, or several:        tidegate dlq remove 17 18
    What a filter takes:    tidegate dlq remove --all --service cv --reason "no frame" --dry-run
    All of a cause:         tidegate dlq remove --all --service cv --reason "no frame"

    The command prints each letter that it removes. Those that are left expire after 30 days.
    """
    wanted = _Selection(letter, every, service, reason)

    async def work(client: Client) -> None:
        errors = []
        count = 0
        async for seq, entry in wanted.letters(client):
            if entry is None:
                errors.append(f"there is no letter {seq}")
                continue
            try:
                if not dry_run:
                    await dead_letters.remove(client, seq)
            except BusError as e:
                errors.append(str(e))
                continue
            count += 1
            echo(f"letter {seq}: {entry.service}, {entry.stream}/{entry.stream_seq}, {one_line(entry.reason)}")
        if count or not errors:
            echo(f"{'would remove' if dry_run else 'removed'} {counted(count, 'dead letter')}", err=not count)
        _raise(errors)

    with_admin(data, work)


class _Selection:
    """The letters that a command takes: by number, or all that pass the filters."""

    def __init__(self, sequences: Sequence[int], every: bool, service: str | None, reason: str) -> None:
        """Raise SettingError if it names no letters, or both numbers and filters."""
        if not sequences and not every:
            raise SettingError("say which: the numbers that 'tidegate dlq list' shows, or --all")
        if sequences and (every or service or reason):
            raise SettingError("give numbers of letters, or --all with its filters, but not both")
        self._sequences = dict.fromkeys(sequences)
        self._service = service
        self._reason = reason

    async def letters(self, client: Client) -> AsyncIterator[tuple[int, DeadLetter | None]]:
        """Yield the selected letters, one in memory at a time; None if a number does not exist."""
        if self._sequences:
            for seq in self._sequences:
                yield seq, await dead_letters.find(client, seq)
            return
        async for entry in dead_letters.entries(client, self._service, reason=self._reason):
            yield entry.seq, entry


async def _outcome(client: Client, replays: Sequence[Replay], after: int, wait_s: float) -> list[str]:
    """Print what became of the replays, and return an error if some came back."""
    waiting_for = f"waiting for what becomes of {counted(len(replays), 'replay')}"
    found = await waited_for(dead_letters.outcome(client, replays, after, wait_s), waiting_for)
    echo(f"{counted(len(replays), 'letter')} replayed: {found.processed} processed, {len(found.came_back)} came back")
    if found.waiting:
        services = ", ".join(sorted({r.letter.service for r in replays}))
        echo(f"{found.waiting} not processed within {wait_s:g} s: see that {services} runs, or give a longer --wait")
    for replay, letter in found.came_back[:MAX_ERRORS]:
        cause = "the same error" if letter.reason == replay.letter.reason else "another error"
        echo(f"letter {replay.letter.seq} is now letter {letter.seq}, with {cause}: {one_line(letter.reason)}")
    if not found.came_back:
        return []
    numbers = " ".join(str(letter.seq) for _, letter in found.came_back[:MAX_ERRORS])
    return [
        f"{counted(len(found.came_back), 'letter')} came back: repair the cause first, or remove what can never be "
        f"processed, such as by 'tidegate dlq remove {numbers}'"
    ]


def _raise(errors: Sequence[str]) -> None:
    """Raise BusError with the first errors, if there is one."""
    if errors:
        more = f"; and {len(errors) - MAX_ERRORS} more" if len(errors) > MAX_ERRORS else ""
        raise BusError(f"{'; '.join(errors[:MAX_ERRORS])}{more}: 'tidegate dlq list' shows what is there")


def _progress(tell: Callable[[str], None]) -> dead_letters.Tell:
    return lambda n, of: tell(f"{n} of {of} dead letters read")
