"""`tidegate up` with a site file that says where alerts are posted, as people use it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes.command_line import COMMAND, tidegate
from tests.support.waiting import patience_s, until
from tests.support.worlds.webhook_service import receiver
from tests.support.worlds.webhook_world import Receiver, say
from tidegate.local import running

__all__ = ["receiver"]


class Output:
    """What a process has printed."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.text = ""
        self.reading = asyncio.create_task(self._read(stream))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.text += line.decode()


@contextlib.asynccontextmanager
async def up(data: Path, *options: str) -> AsyncIterator[Output]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEBHOOK_")}
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "up", "--plain", "--data", str(data), "--port", "0", *options,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    output = Output(process.stdout)
    try:
        await until((data / "run.json").exists)
        yield output
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(patience_s()):
            assert await process.wait() == 0, output.text
    finally:
        if process.returncode is None:
            process.kill()
        await output.reading


async def status(data: Path) -> str:
    return (await asyncio.to_thread(tidegate, data, "webhook", "status")).stdout


@pytest.mark.slow
async def test_alerts_go_where_the_site_file_says(tmp_path: Path, receiver: Receiver) -> None:
    site, data = tmp_path / "site.yaml", tmp_path / "data"
    site.write_text(f"webhook: {{url: '{receiver.url}/T0KEN'}}")
    async with up(data, "-f", str(site)) as output:
        await until(lambda: "+ webhook: url" in output.text)
        client = await running.connect(data)
        try:
            async with asyncio.timeout(patience_s()):
                while f":{receiver.port}: alerts" not in (shown := await status(data)) or "began" not in shown:
                    await asyncio.sleep(0.1)
            id = await say(client, 1)
            await until(lambda: receiver.requests)
            tested = await asyncio.to_thread(tidegate, data, "webhook", "test")
            assert "accepted webhook-test/" in tested.stdout and "T0KEN" not in tested.stdout
        finally:
            await client.close()
    assert f"+ webhook: url http://127.0.0.1:{receiver.port}, events alerts, format cloudevents\n" in output.text
    assert receiver.requests[0].path.endswith("/T0KEN") and receiver.ids[0] == id and len(receiver.ids) == 2
    async with up(data) as output:
        await until(lambda: "webhook starts too, as the site has one" in output.text)
        client = await running.connect(data)
        try:
            second = await say(client, 2)
            await until(lambda: second in receiver.ids)
        finally:
            await client.close()
    assert "T0KEN" not in output.text
