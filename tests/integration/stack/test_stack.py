"""The stack of `tidegate up` on one machine: real processes under their own identities."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import msgspec
import psutil
import pytest
from nats.aio.client import Client

from shared import bus
from shared.bus import requests
from shared.bus.requests import NobodyAnswers
from shared.client import explain
from shared.contract import names
from shared.runtime.errors import Refusal
from tests.support.paths import ROOT
from tests.support.waiting import patience_s, until
from tidegate.keda.scaledobject import load
from tidegate.local.stack import Stack
from tidegate.local.stack import steady as stack_of

KEDA = ROOT / "deploy/keda"
SCALED = {
    "cv": load(KEDA / "demand/cv.yaml"),
    "embed": load(KEDA / "embed.yaml"),
    "vlm": load(KEDA / "demand/vlm.yaml"),
}


def violations(stack: Stack) -> list[str]:
    return [line for line in stack.server.log.read_text().splitlines() if "Violation" in line]


async def test_explain_has_one_answer_for_any_number_of_services(tmp_path: Path) -> None:
    async with Stack(tmp_path, SCALED, port=0) as stack:
        # Each has begun to read its consumer.
        await until(lambda: all(a.state.pending is not None for a in stack.autoscalers.values()))
        for service in ("cv", "vlm", "cv"):
            [answer] = await explain.ask(stack.admin, service)
            assert [e.service for e in answer.found] == [service]
            # One of KEDA's own triggers requests embed.
            assert answer.services == ["cv", "vlm"]
    assert violations(stack) == []


@pytest.mark.slow
async def test_a_question_breaks_no_permission(tmp_path: Path) -> None:
    """With all that `--vlm` starts, and an absent model: the question waits, and the command reports this."""
    nowhere = {"vlm": {"VLM_URL": "http://127.0.0.1:9/v1", "VLM_MODEL": "m"}}
    async with Stack(tmp_path, SCALED, steady=stack_of("--vlm"), env=nowhere, port=0) as stack:
        asker = await bus.connect(stack.server.settings("asker"), "asker")
        try:
            await until_answered(asker)
            question = msgspec.json.encode({"kind": "ask", "camera": "lobby", "question": "what?", "wait_s": 1})
            for _ in range(2):
                with pytest.raises(Refusal, match="no answer within 1 s") as refused:
                    await requests.ask(asker, names.ASK, question, timeout_s=30)
                assert refused.value.code == 504
            with pytest.raises(Refusal) as unread:
                await requests.ask(asker, names.ASK, b"?", timeout_s=30)
            assert unread.value.code == 400
        finally:
            await asker.close()
        await explain.ask(stack.admin, "vlm")
    assert violations(stack) == []


async def until_answered(client: Client) -> None:
    """Wait until vlm's front answers; an invalid question suffices."""
    async with asyncio.timeout(patience_s()):
        while True:
            try:
                with pytest.raises(Refusal):
                    await requests.ask(client, names.ASK, b"?", timeout_s=5)
                return
            except NobodyAnswers:
                await asyncio.sleep(0.1)


def scraped(target: str) -> str:
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def settings_of(stack: Stack) -> dict[str, str]:
    """Prometheus' targets of the replicas."""
    entries = [json.loads(path.read_text()) for path in stack.targets.glob("*.json")]
    return {e["labels"]["replica"]: e["targets"][0] for [e] in entries}


async def test_prometheus_discovers_each_process(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "cv-7.json").write_text("left by a run that was killed")
    async with Stack(tmp_path, {}, port=0) as stack:
        await until(lambda: set(settings_of(stack)) == {"ingest-0"})
        first = settings_of(stack)["ingest-0"]
        page = scraped(first)
        assert "tidegate_ingest_segments_total" in page
        assert "_created" not in page
        assert json.loads((stack.targets / "ingest-0.json").read_text())[0]["labels"]["service"] == "ingest"

        [ingest] = [p for p in psutil.Process().children() if "services.ingest" in p.cmdline()]
        ingest.kill()
        await until(lambda: settings_of(stack).get("ingest-0") not in (first, None))
        assert "tidegate_ingest_segments_total" in scraped(settings_of(stack)["ingest-0"])

        await stack.pools["ingest"].scale_to(0)
        await until(lambda: not settings_of(stack))
    assert not stack.targets.exists()
