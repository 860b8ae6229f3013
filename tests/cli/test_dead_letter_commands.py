"""`tidegate dlq`: removal by number and by filter, and what becomes of a replay."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.client import dlq
from shared.contract import deadletters, names
from tests.support.processes.command_line import COMMAND, tidegate_on
from tidegate.local.server import NatsServer


async def write(admin: Client, stream_seq: int, reason: str, service: str = "cv") -> int:
    """Write a dead letter as a service does."""
    headers = deadletters.dead_letter_headers(
        service, reason, stream=names.MEDIA, seq=stream_seq, subject="media.lobby", deliveries=5, headers={}
    )
    return (await admin.jetstream().publish(f"dlq.{service}", b"x", headers=headers)).seq


async def numbers(admin: Client) -> list[int]:
    return [letter.seq async for letter in dlq.entries(admin)]


@contextlib.asynccontextmanager
async def processing(admin: Client, reasons: dict[bytes, str]) -> AsyncIterator[None]:
    """A service cv: it dead-letters the payloads that have a reason, and acknowledges all others."""
    js = admin.jetstream()
    pulled = await js.pull_subscribe_bind("cv", names.MEDIA)

    async def run() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                for message in await pulled.fetch(10, timeout=5):
                    if reason := reasons.get(message.data):
                        headers = deadletters.dead_letter_headers(
                            "cv", reason, stream=names.MEDIA, seq=message.metadata.sequence.stream,
                            subject=message.subject, deliveries=1, headers=message.headers,
                        )  # fmt: skip
                        await js.publish("dlq.cv", message.data, headers=headers)
                    await message.ack_sync()

    task = asyncio.create_task(run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.slow
async def test_letters_are_removed_by_number_and_by_filter(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    one = await write(admin, 1, "no frame can be decoded")
    two = await write(admin, 2, "out of memory")
    other = await write(admin, 3, "No frame can be decoded", service="embed")
    four = await write(admin, 4, "NO FRAME here either")
    filters = ("--all", "--service", "cv", "--reason", "no frame")
    listed = await tidegate_on(server, "dlq", "list", "--reason", "no frame", cwd=tmp_path)
    assert [int(line.split("\t")[0]) for line in listed.stdout.splitlines()] == [one, other, four]
    dry = await tidegate_on(server, "dlq", "remove", *filters, "--dry-run", cwd=tmp_path)
    assert dry.stdout.splitlines() == [
        f"letter {one}: cv, MEDIA/1, no frame can be decoded",
        f"letter {four}: cv, MEDIA/4, NO FRAME here either",
        "would remove 2 dead letters",
    ]
    assert await numbers(admin) == [one, two, other, four]
    done = await tidegate_on(server, "dlq", "remove", *filters, cwd=tmp_path)
    assert done.stdout.endswith("\nremoved 2 dead letters\n") and await numbers(admin) == [two, other]
    some = await tidegate_on(server, "dlq", "remove", str(two), str(one), cwd=tmp_path)
    assert some.returncode == 1 and f"there is no letter {one}" in some.stderr
    assert some.stdout.endswith("removed 1 dead letter\n") and await numbers(admin) == [other]
    none = await tidegate_on(server, "dlq", "remove", *filters, cwd=tmp_path)
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "removed 0 dead letters\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["remove", "replay"])
async def test_a_selection_is_by_number_or_by_filter(
    server: NatsServer, admin: Client, tmp_path: Path, command: str
) -> None:
    letter = await write(admin, 1, "x")
    for arguments in ((), ("--service", "cv"), (str(letter), "--all"), (str(letter), "--reason", "x")):
        refused = await tidegate_on(server, "dlq", command, *arguments, cwd=tmp_path)
        assert refused.returncode == 1 and "--all" in refused.stderr and refused.stdout == ""
    assert await numbers(admin) == [letter]


async def test_only_an_identity_with_the_right_removes_letters(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    letter = await write(admin, 1, "x", service="webhook")
    for identity in ("webhook", "viewer"):
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "dlq", "remove", str(letter), env=os.environ | server.environment(identity), cwd=tmp_path,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await process.wait() != 0
    assert await numbers(admin) == [letter]


@pytest.mark.slow
async def test_a_replay_reports_what_came_back_and_the_remedy(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    original = await admin.jetstream().publish("media.lobby", b"x")
    first = await write(admin, original.seq, "no frame")
    async with processing(admin, {b"x": "no frame"}):
        back = await tidegate_on(server, "dlq", "replay", str(first), "--wait", "60", cwd=tmp_path)
    (new,) = await numbers(admin)
    assert back.returncode == 1 and "1 letter replayed: 0 processed, 1 came back" in back.stdout
    assert f"letter {first} is now letter {new}, with the same error: no frame" in back.stdout
    assert f"'tidegate dlq remove {new}'" in back.stderr
    async with processing(admin, {b"x": "another"}):
        back = await tidegate_on(server, "dlq", "replay", "--all", "--wait", "60", cwd=tmp_path)
    assert "with another error: another" in back.stdout
    async with processing(admin, {}):
        fine = await tidegate_on(server, "dlq", "replay", "--all", "--wait", "60", cwd=tmp_path)
    assert fine.returncode == 0 and fine.stdout.endswith("1 letter replayed: 1 processed, 0 came back\n")
    assert await numbers(admin) == []


async def test_a_replay_that_no_service_takes_is_reported(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    letter = await write(admin, 1, "no frame")
    waits = await tidegate_on(server, "dlq", "replay", str(letter), "--wait", "0.5", cwd=tmp_path)
    assert waits.returncode == 0 and "1 not processed within 0.5 s: see that cv runs" in waits.stdout
    letter = await write(admin, 2, "no frame")
    silent = await tidegate_on(server, "dlq", "replay", str(letter), "--wait", "0", cwd=tmp_path)
    assert silent.returncode == 0 and len(silent.stdout.splitlines()) == 1
