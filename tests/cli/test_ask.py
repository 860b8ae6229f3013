"""The requests of `tidegate ask` and `tidegate summarize`, and their output if there is no answer."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest
from nats.aio.client import Client
from rich.console import Console

from shared.bus.requests import NobodyAnswers
from shared.runtime.errors import SettingError, TidegateError
from tests.support.processes.command_line import tidegate
from tests.support.servers.openai_server import OpenAiServer
from tests.support.worlds.jobs_world import film, fronting, worker
from tidegate.commands.ask import query, run
from tidegate.local.server import NatsServer

GIVEN = {"camera": "lobby", "since": None, "until": None, "wait": 20}


def test_options_become_a_question() -> None:
    request = query("ask", GIVEN | {"since": "5m", "until": "2026-11-24T13:00:00Z"}, question="Who?")
    assert request["until"] == "2026-11-24T13:00:00.000Z" and request["since"].endswith("Z")
    assert (request["kind"], request["camera"], request["question"], request["wait_s"]) == ("ask", "lobby", "Who?", 20)
    with pytest.raises(SettingError, match="camera id"):
        query("ask", GIVEN | {"camera": "a b"}, question="Who?")
    with pytest.raises((SettingError, click.UsageError), match="--since"):
        query("ask", GIVEN | {"since": "yesterdayish"}, question="Who?")


async def test_a_missing_front_is_answered_with_how_to_start_one(server: NatsServer, admin: Client) -> None:
    request = query("ask", GIVEN, question="Who?")
    with pytest.raises(NobodyAnswers, match="tidegate up --vlm"):
        await run(admin, request, Console(file=io.StringIO()), as_json=False, save=None)


async def test_an_unanswerable_question_is_an_error_with_its_reason(server: NatsServer, admin: Client) -> None:
    await film(admin, 3, camera="street")
    async with OpenAiServer() as openai, fronting(server), worker(server, openai.url):
        for kind, own, why in (
            ("ask", {"question": "Who?"}, "camera lobby gave no video"),
            ("summarize", {"prompt": ""}, "VLM_CAPTION_EVERY_S"),
        ):
            with pytest.raises(TidegateError, match=why):
                request = query(kind, GIVEN, **own)
                await run(admin, request, Console(file=io.StringIO()), as_json=False, save=None)


def test_up_prints_what_the_model_needs(tmp_path: Path) -> None:
    done = tidegate(tmp_path, "up", "--vlm", "--plain", "--port", "0", check=False)
    assert done.returncode == 1 and "VLM_URL" in done.stderr and "VLM_MODEL" in done.stderr
    assert "Traceback" not in done.stderr
