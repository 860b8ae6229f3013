"""`tidegate ask` and `tidegate summarize`, against a real `tidegate up --vlm` on a real vLLM; and their errors."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from nats.aio.client import Client
from PIL import Image
from rich.console import Console

from shared.errors import SettingError, TidegateError
from shared.requests import NobodyAnswers
from tests.jobs_world import film, fronting, worker
from tests.openai_server import OpenAiServer
from tests.vllm_process import VllmProcess
from tidegate import ask, footage
from tidegate.server import NatsServer

GIVEN = {"camera": "lobby", "since": None, "until": None, "wait": 20}


def test_options_become_a_question() -> None:
    asked = ask.query("ask", GIVEN | {"since": "5m", "until": "2026-11-24T13:00:00Z"}, question="Who?")
    assert asked["until"] == "2026-11-24T13:00:00.000Z" and asked["since"].endswith("Z")
    assert (asked["kind"], asked["camera"], asked["question"], asked["wait_s"]) == ("ask", "lobby", "Who?", 20)
    with pytest.raises(SettingError, match="camera id"):
        ask.query("ask", GIVEN | {"camera": "a b"}, question="Who?")
    with pytest.raises((SettingError, click.UsageError), match="--since"):
        ask.query("ask", GIVEN | {"since": "yesterdayish"}, question="Who?")


async def test_without_a_front_it_says_how_to_start_one(server: NatsServer, admin: Client) -> None:
    query = ask.query("ask", GIVEN, question="Who?")
    with pytest.raises(NobodyAnswers, match="tidegate up --vlm"):
        await ask.run(admin, query, Console(file=io.StringIO()), as_json=False, save=None)


async def test_what_can_t_be_answered_is_an_error_with_its_reason(server: NatsServer, admin: Client) -> None:
    await film(admin, 3, camera="street")
    async with OpenAiServer() as openai, fronting(server), worker(server, openai.url):
        for kind, own, why in (
            ("ask", {"question": "Who?"}, "camera lobby gave no video"),
            ("summarize", {"prompt": ""}, "VLM_CAPTION_EVERY_S"),
        ):
            with pytest.raises(TidegateError, match=why):
                query = ask.query(kind, GIVEN, **own)
                await ask.run(admin, query, Console(file=io.StringIO()), as_json=False, save=None)


def tidegate(data: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"TIDEGATE_DATA": str(data), "COLUMNS": "200"}
    command = [sys.executable, "-m", "tidegate", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.slow
@pytest.mark.vllm
def test_a_question_about_a_camera_from_the_command_line(vllm: VllmProcess, tmp_path: Path) -> None:
    """From no worker at all: the question has one started. Captions are made meanwhile, and summed up."""
    data = tmp_path / "data"
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[1]
    env = {"VLM_URL": vllm.url, "VLM_MAX_TOKENS": "1200", "VLM_FRAMES": "4", "VLM_SIZE": "224", "CV_FPS": "1"}
    with (tmp_path / "up.log").open("w") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "tidegate", "up", "--vlm", "--plain", "--data", str(data), "--port", "0"],
            env=os.environ | env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 30
        while not (data / "run.json").exists():
            assert up.poll() is None and time.monotonic() < deadline, (tmp_path / "up.log").read_text()
            time.sleep(0.1)
        added = tidegate(data, "camera", "add", "lobby", str(video), "--loop", "--caption-every", "5")
        assert added.returncode == 0, added.stderr
        time.sleep(6)
        answered = tidegate(data, "ask", "Who is there?", "--camera", "lobby", "--save", str(tmp_path / "seen"))
        assert answered.returncode == 0 or "broke the schema" in answered.stderr, answered.stderr
        assert "frames, by tiny-random" in answered.stdout
        pictures = sorted((tmp_path / "seen").iterdir())
        assert pictures and all(Image.open(p).format == "JPEG" for p in pictures)
        deadline = time.monotonic() + 60
        while True:
            summed = tidegate(data, "summarize", "--camera", "lobby", "--since", "2m", "--json")
            if summed.returncode == 0 or time.monotonic() > deadline:
                break
            time.sleep(2)
        assert summed.returncode == 0, summed.stderr
        event = json.loads(summed.stdout)
        assert event["captions"] >= 1 and event["text"]
        assert "vlm-front" in str(sorted(p.name for p in (data / "logs").iterdir()))
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(40)
        finally:
            up.kill()
    assert "vlm:" in (tmp_path / "up.log").read_text()


def test_up_says_what_the_model_needs(tmp_path: Path) -> None:
    done = tidegate(tmp_path, "up", "--vlm", "--plain", "--port", "0")
    assert done.returncode == 1 and "VLM_URL" in done.stderr and "VLM_MODEL" in done.stderr
    assert "Traceback" not in done.stderr
