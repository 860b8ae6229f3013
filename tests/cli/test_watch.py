"""`tidegate watch`: which subjects there are, each event once, and nothing but events on standard output."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.runtime.errors import SettingError
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s
from tidegate.commands.watch import full
from tidegate.local.server import NatsServer


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        (">", "events.>"),
        ("incidents", "events.incidents.>"),
        ("incidents.lobby", "events.incidents.lobby"),
        ("*.lobby", "events.*.lobby"),
        ("events.tracks.lobby", "events.tracks.lobby"),
        ("events.>", "events.>"),
    ],
)
def test_a_subject_may_be_short(given: str, whole: str) -> None:
    assert full(given) == whole


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("", "can't be used"),
        ("incidents.no cam", "can't be used"),
        ("incidents..lobby", "can't be used"),
        (">.lobby", "can't be used"),
        ("incident", "did you mean 'incidents'"),
        ("foo.lobby", "there is no kind of event 'foo'"),
    ],
)
def test_a_subject_without_events_is_an_error(given: str, part: str) -> None:
    with pytest.raises(SettingError, match=part):
        full(given)


async def test_an_event_is_printed_once_and_a_server_that_dies_is_no_event(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with out.open("wb") as file, (tmp_path / "err").open("wb") as err:
        watching = await asyncio.create_subprocess_exec(
            *COMMAND, "watch", "counts", "--json", stdout=file, stderr=err, env=os.environ | server.environment("admin")
        )
        try:
            async with asyncio.timeout(patience_s()):
                n = 0
                while not out.stat().st_size:
                    await say(admin, n := n + 1)
                await say(admin, n)
                await server.restart(signal.SIGKILL)
                while f'"n": {n + 100}' not in out.read_text():
                    await say(admin, n + 100)
        finally:
            watching.send_signal(signal.SIGINT)
            await watching.wait()
    output = [json.loads(line)["n"] for line in out.read_text().splitlines()]
    assert len(output) == len(set(output)) and output[-1] == n + 100
    assert "nats" in (tmp_path / "err").read_text()


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_it_ends_with_its_reader(
    server: NatsServer, admin: Client, tmp_path: Path, form: tuple[str, ...]
) -> None:
    """As in `tidegate watch | head`."""
    ours, theirs = os.pipe()
    with (tmp_path / "err").open("wb") as err:
        watching = await asyncio.create_subprocess_exec(
            *COMMAND, "watch", "counts", *form, stdout=theirs, stderr=err, env=os.environ | server.environment("admin")
        )
    os.close(theirs)
    n = 0
    try:
        async with asyncio.timeout(patience_s()):
            while not select.select([ours], [], [], 0)[0]:
                await say(admin, n := n + 1)
            os.close(ours)
            while watching.returncode is None:
                await say(admin, n := n + 1)
    finally:
        if watching.returncode is None:
            watching.kill()
            await watching.wait()
    assert (tmp_path / "err").read_text() == ""


async def say(client: Client, n: int) -> None:
    """Twice, as after a crash: what JetStream would drop, plain subscribers hear."""
    for _ in range(2):
        await client.publish("events.counts.lobby", json.dumps({"n": n}).encode(), headers={"ce-id": f"counts/{n}"})
    await client.flush(timeout=10)
    await asyncio.sleep(0.2)
