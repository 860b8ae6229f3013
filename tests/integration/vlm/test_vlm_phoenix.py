"""Phoenix shows a job and its request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from shared import bus
from shared.contract.events import Verdict
from shared.runtime import child
from shared.runtime.ports import free_port
from tests.support.servers import vllm_process
from tests.support.servers.vllm_process import VllmProcess
from tests.support.waiting import patience_s
from tests.support.worlds.jobs_world import film, settled, stored_results
from tests.support.worlds.vllm_world import start, verify, vllm
from tidegate.local.server import NatsServer

__all__ = ["vllm"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.alone,
    pytest.mark.xdist_group("computing"),
    pytest.mark.skipif(not vllm_process.is_installed(), reason="vLLM is not installed: make vllm"),
]


@pytest.fixture
def phoenix(tmp_path: Path) -> Iterator[str]:
    """A real Phoenix; its URL."""
    python = vllm_process.ROOT / ".phoenix/bin/python"
    if not python.exists():
        pytest.skip("Phoenix is not installed: make phoenix")
    port, grpc = free_port(0), free_port(0)
    env = {
        "PHOENIX_WORKING_DIR": str(tmp_path),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    log = tmp_path / "phoenix.log"
    process = child.spawn([str(python), "-m", "phoenix.server.main", "serve"], log=log, env=os.environ | env)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + patience_s()
        while True:
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{url}/healthz", timeout=5).status == 200:
                    break
            assert process.poll() is None and time.monotonic() < deadline, child.last_lines(log, 20)
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.mark.phoenix
async def test_phoenix_shows_a_job_and_its_request(
    server: NatsServer, admin: Client, vllm: VllmProcess, phoenix: str, tmp_path: Path
) -> None:
    seqs = await film(admin, 3)
    log = tmp_path / "vlm.log"
    process = start(server, log, VLM_URL=vllm.url, VLM_MODEL="", OTEL_EXPORTER_OTLP_ENDPOINT=phoenix)
    try:
        parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
        await bus.publish_job(admin, verify("traced", seqs), {"traceparent": parent})
        await settled(admin)
    finally:
        # Buffered spans are sent at its end.
        process.terminate()
        assert await asyncio.to_thread(process.wait, 40) == 0, log.read_text()

    def spans() -> dict[str, dict[str, Any]]:
        with urllib.request.urlopen(f"{phoenix}/v1/projects/default/spans?limit=100", timeout=5) as answer:
            return {span["name"]: span for span in json.load(answer)["data"]}

    async with asyncio.timeout(patience_s()):
        while len(found := await asyncio.to_thread(spans)) < 2:
            await asyncio.sleep(0.5)
    job, request = found["vlm"], found["vlm verify"]
    assert (job["span_kind"], request["span_kind"]) == ("CHAIN", "LLM")
    assert job["context"]["trace_id"] == request["context"]["trace_id"] == parent.split("-")[1]
    assert request["parent_id"] == job["context"]["span_id"] and job["parent_id"] == parent.split("-")[2]
    attributes = request["attributes"]
    assert attributes["llm.model_name"] == "tiny-random" and "A tram is there." in attributes["input.value"]
    assert attributes["llm.token_count.prompt"] > 100 and attributes["llm.token_count.completion"] > 0
    images = [value for key, value in attributes.items() if key.endswith("image.url")]
    assert len(images) == 4 and all(url.startswith("nats:MEDIA/") for url in images)
    ((_, verdict),) = await stored_results(admin)
    assert isinstance(verdict, Verdict) and verdict.verdict in attributes["output.value"]
    about = {k.removeprefix("metadata."): v for k, v in job["attributes"].items() if k.startswith("metadata.")}
    assert about == {"kind": "verify", "camera": "lobby", "job": "traced"}, job["attributes"]
