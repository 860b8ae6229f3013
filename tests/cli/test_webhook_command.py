"""`tidegate webhook`: the status, moves of the start under a running webhook, and the test event."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.support.processes.command_line import COMMAND, tidegate_on
from tests.support.waiting import patience_s
from tests.support.worlds.webhook_service import SECRET, all_answered, is_signed, receiver, sending
from tests.support.worlds.webhook_world import Receiver, answers, say
from tidegate.local.server import NatsServer

__all__ = ["receiver"]


async def standing(server: NatsServer, until: Callable[[dict[str, Any]], bool], cwd: Path) -> dict[str, Any]:
    """Return the status once `until` holds: it is written some seconds later."""
    async with asyncio.timeout(patience_s()):
        while True:
            shown = await tidegate_on(server, "webhook", "status", "--json", cwd=cwd)
            found: dict[str, Any] = json.loads(shown.stdout)
            if until(found):
                return found


async def posted(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(patience_s()):
        while len(receiver.requests) < count:
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_the_past_is_sent_again_and_what_waits_is_skipped(
    server: NatsServer, admin: Client, receiver: Receiver, tmp_path: Path
) -> None:
    before = [await say(admin, n) for n in range(3)]
    async with sending(server, receiver.url):
        await all_answered(admin)
        live = await say(admin, 3)
        await posted(receiver, 1)
        dry = await tidegate_on(server, "webhook", "since", "1h", "--dry-run", cwd=tmp_path)
        assert dry.stdout.startswith("would send 4 events since ") and receiver.ids == [live]
        moved = await tidegate_on(server, "webhook", "since", "1h", cwd=tmp_path)
        assert moved.stdout.startswith("sends 4 events since "), moved.stderr
        await posted(receiver, 5)
        assert sorted(receiver.ids[1:]) == sorted([*before, live])
        receiver.then = answers(500)
        waits = await say(admin, 4)
        await posted(receiver, 6)
        later = await tidegate_on(server, "webhook", "since", "0s", cwd=tmp_path)
        assert later.returncode == 1 and "'tidegate webhook since now' first, which skips them" in later.stderr
        now = await tidegate_on(server, "webhook", "since", "now", cwd=tmp_path)
        assert now.stdout == "skips 1 waiting event, and begins with the next one\n"
        await asyncio.sleep(1)  # a process knows a former start for so long
        receiver.then = answers(204)
        skipped = receiver.ids.count(waits)
        await all_answered(admin)
        new = await say(admin, 5)
        await all_answered(admin)
    assert receiver.ids[-1] == new and receiver.ids.count(waits) == skipped


async def test_since_before_a_first_start_is_where_it_begins(
    server: NatsServer, admin: Client, receiver: Receiver, tmp_path: Path
) -> None:
    waiting = await say(admin, 1)
    assert (await tidegate_on(server, "webhook", "since", "1h", cwd=tmp_path)).stdout.startswith("sends 1 event since")
    async with sending(server, receiver.url):
        await all_answered(admin)
    assert receiver.ids == [waiting]


@pytest.mark.slow
async def test_the_status_tells_what_waits_and_the_last_error(
    server: NatsServer, admin: Client, receiver: Receiver, tmp_path: Path
) -> None:
    await say(admin, 1)
    new = await standing(server, lambda found: found["waiting"] == 1, tmp_path)
    assert not new["has_begun"] and not new["is_running"] and new["endpoint"] == ""
    shown = (await tidegate_on(server, "webhook", "status", cwd=tmp_path)).stdout
    assert "begins        with its first start" in shown and "running       no" in shown
    receiver.then = answers(503)
    async with sending(server, receiver.url + "/T0KEN"):
        await say(admin, 2)
        failing = await standing(server, lambda found: bool(found["error"]), tmp_path)
        assert failing["is_running"] and failing["has_begun"] and failing["retrying"] == 1
        assert failing["error"] == "answers 503 Service Unavailable" and failing["delivered_at"] is None
        shown = (await tidegate_on(server, "webhook", "status", cwd=tmp_path)).stdout
        assert "running       yes" in shown and "answers 503 Service Unavailable" in shown and "T0KEN" not in shown
        receiver.then = answers(204)
        assert (await standing(server, lambda found: bool(found["delivered_at"]), tmp_path))["waiting"] == 0


async def test_a_test_event_is_posted_once_and_marked(receiver: Receiver, tmp_path: Path) -> None:
    async def run(url: str) -> tuple[int, str, str]:
        environment = os.environ | {"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET}
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "webhook", "test", env=environment, cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    code, out, _ = await run(receiver.url)
    (request,) = receiver.requests
    assert code == 0 and f"accepted {request.id} in" in out and out.endswith("(signed)\n") and is_signed(request)
    body = json.loads(request.body)
    assert request.headers["ce-tidegatetest"] == "true" and (body["camera"], body["rule"]) == ("webhook-test",) * 2
    receiver.replies = [answers(404)]
    code, out, err = await run(receiver.url + "/T0KEN")
    assert (code, out) == (1, "") and "answers 404 Not Found: check WEBHOOK_URL" in err and "T0KEN" not in err
