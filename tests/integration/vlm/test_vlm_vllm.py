"""vlm on a real vLLM, whose model of two layers answers noise: schemas, crashes, priorities, and an own vLLM."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from nats.aio.client import Client
from PIL import Image
from prometheus_client import REGISTRY

from services.vlm.address import sagemaker
from services.vlm.endpoints.failures import Refused
from services.vlm.endpoints.sagemaker import SageMakerEndpoint
from shared import bus
from shared.client import dlq
from shared.contract.events import Verdict
from shared.contract.work import jobs
from shared.runtime.backoff import Backoff
from tests.support.processes.command_line import tidegate
from tests.support.servers import vllm_process
from tests.support.servers.sagemaker_server import Key, SageMakerServer
from tests.support.servers.vllm_process import SLOTS, VllmProcess
from tests.support.waiting import patience_s, until
from tests.support.worlds.jobs_world import ask, film, fronting, settled, stored_results, worker
from tests.support.worlds.vllm_world import OURS, TOKENS, start, verify, vllm
from tidegate.demo import footage
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer

__all__ = ["vllm"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.alone,
    pytest.mark.xdist_group("computing"),
    pytest.mark.skipif(not vllm_process.is_installed(), reason="vLLM is not installed: make vllm"),
]


@pytest.mark.parametrize("media", ["images", "video"])
async def test_every_kind_of_job_is_answered(server: NatsServer, admin: Client, vllm: VllmProcess, media: str) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=20)
    seqs = await film(admin, 18, start=start)
    end = start + dt.timedelta(seconds=18)
    async with fronting(server), worker(server, vllm.url, vlm_max_tokens=TOKENS, vlm_media=media) as health:
        assert health.ready is None
        verdict = await ask(admin, kind="verify", camera="lobby", prompt="A tram is there.", segments=seqs[:4])
        assert verdict["verdict"] in ("confirmed", "rejected", "uncertain") and verdict.get("cause") is None
        assert len(verdict["frames"]) == 4 and verdict["usage"]["prompt_tokens"] > 100
        for n in range(3):
            begin = start + dt.timedelta(seconds=6 * n)
            job = jobs.Caption(camera="lobby", start=begin, end=begin + dt.timedelta(seconds=6))
            await bus.publish_job(admin, job)
        await settled(admin)
        summary = await ask(admin, kind="summarize", camera="lobby", since=start.isoformat(), until=end.isoformat())
        assert summary["captions"] == 3 and summary["text"]
        answer = await ask(admin, kind="ask", camera="lobby", question="Who?", since=start.isoformat())
        assert len(answer["frames"]) == 4
    found = await stored_results(admin)
    assert [event.kind for _, event in found].count("captions") == 3
    assert all(event.model == "tiny-random" for _, event in found)


@pytest.mark.parametrize("media", ["images", "video"])
async def test_jobs_are_answered_through_sagemaker(
    server: NatsServer, admin: Client, vllm: VllmProcess, media: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's own `/invocations`, behind a page that checks signatures as AWS does."""
    pytest.importorskip("botocore", reason="botocore is not installed: pip install 'tidegate[sagemaker]'")
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=6)
    seqs = await film(admin, 6, start=start)
    end = start + dt.timedelta(seconds=6)
    async with SageMakerServer(upstream=vllm.url.removesuffix("/v1")) as aws:
        aws.keys = [Key(id="ASIAROLE", secret="of-the-role", token="of-a-session")]
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        url = "sagemaker://tiny-random?component=tiny-1"
        async with worker(server, url, vlm_max_tokens=TOKENS, vlm_media=media):
            await bus.publish_job(admin, verify("signed", seqs[:4]))
            await bus.publish_job(admin, jobs.Caption(camera="lobby", start=start, end=end))
            await settled(admin)
        # Longer than its context: vLLM's error comes back in SageMaker's format.
        async with worker(server, url, vlm_max_tokens=vllm_process.CONTEXT + 1):
            await bus.publish_job(admin, verify("long", seqs[:4]))
            await settled(admin)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        async with SageMakerEndpoint(sagemaker(url), model="", timeout_s=60) as endpoint:
            with pytest.raises(Refused, match="AWS_SECRET_ACCESS_KEY"):
                await endpoint.look("")
    found = {event.kind: event for _, event in await stored_results(admin)}
    verdict, caption = found["verdicts"], found["captions"]
    assert isinstance(verdict, Verdict) and verdict.verdict in ("confirmed", "rejected", "uncertain")
    assert verdict.cause is None and verdict.usage.prompt_tokens > 100 and caption.usage.completion_tokens > 0
    assert {event.model for event in found.values()} == {"tiny-random"}
    (letter,) = [x async for x in dlq.entries(admin)]
    assert letter.deliveries == 1 and "max_model_len=8192" in letter.reason
    requests = [body for body in aws.bodies if body["max_tokens"] == TOKENS]
    assert all("model" not in body and "stream" not in body for body in requests) and len(requests) >= 2


async def test_a_truncated_answer_is_uncertain(server: NatsServer, admin: Client, vllm: VllmProcess) -> None:
    seqs = await film(admin, 3)
    async with worker(server, vllm.url, vlm_max_tokens=16):
        await bus.publish_job(admin, verify("cut", seqs))
        await settled(admin)
    ((_, verdict),) = await stored_results(admin)
    assert isinstance(verdict, Verdict) and (verdict.verdict, verdict.cause) == ("uncertain", "schema")
    assert "cut off after 16 tokens" in verdict.reason


async def test_a_verify_job_overtakes_a_backlog_of_captions(
    server: NatsServer, admin: Client, vllm: VllmProcess
) -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=60)
    seqs = await film(admin, 60, start=start)
    for n in range(500):
        begin = start + dt.timedelta(milliseconds=100 * n)
        await bus.publish_job(admin, jobs.Caption(camera="lobby", start=begin, end=begin + dt.timedelta(seconds=6)))
    js = admin.jetstream()
    async with worker(server, vllm.url, vlm_batch_size=SLOTS, vlm_max_tokens=TOKENS, vlm_grace_s=0.5):

        async def stored() -> int:
            return (await js.stream_info("EVENTS")).state.messages

        async with asyncio.timeout(patience_s()):
            while await stored() < 2 * SLOTS:
                await asyncio.sleep(0.05)
        before = await stored()
        await bus.publish_job(admin, verify("urgent", seqs[:4]))
        published = time.monotonic()
        async with asyncio.timeout(patience_s()):
            while not (await js.stream_info("EVENTS", subjects_filter="events.verdicts.>")).state.subjects:
                await asyncio.sleep(0.02)
        waited = time.monotonic() - published
        assert (await js.consumer_info("CAPTIONS", "vlm-caption")).num_pending > 300
        assert REGISTRY.get_sample_value("tidegate_vlm_requests_running") is not None
    kinds = [event.kind for _, event in await stored_results(admin)]
    between = kinds.index("verdicts") - before
    print(f"verdict after {waited:.1f} s and {between} captions, {SLOTS} of which were in work")
    assert 0 <= between <= SLOTS


async def test_two_hundred_verdicts_survive_any_kill(
    server: NatsServer, admin: Client, vllm: VllmProcess, tmp_path: Path
) -> None:
    """A worker killed twice and drained once, vLLM killed and started again: every job has its verdict, once."""
    seqs = await film(admin, 40)
    for n in range(200):
        await bus.publish_job(admin, verify(f"i-{n}", [seqs[n % 40], seqs[(n + 1) % 40]]))
    env = {"VLM_URL": vllm.url, "VLM_MAX_TOKENS": str(TOKENS), "VLM_FRAMES": "2", "VLM_SIZE": "224"}
    env |= {"VLM_OUTAGE_TIMEOUT_S": "3", "VLM_BATCH_SIZE": "4", "VLM_GRACE_S": "20"}
    workers = Replicas(
        "vlm",
        [sys.executable, "-m", "services.vlm"],
        server.environment("vlm") | env,
        tmp_path / "logs",
        backoff=Backoff(first_s=0.2, longest_s=1.0),
    )
    js = admin.jetstream()

    async def verdicts() -> int:
        return (await js.stream_info("EVENTS")).state.messages

    async def reached(count: int) -> None:
        async with asyncio.timeout(2 * patience_s()):
            while await verdicts() < count:
                await asyncio.sleep(0.1)

    await workers.scale_to(2)
    try:
        await reached(20)
        os.kill(workers.pids[0], signal.SIGKILL)
        await reached(60)
        await asyncio.to_thread(vllm.kill)
        vllm.start()
        await asyncio.to_thread(vllm.wait)
        await reached(100)
        os.kill(workers.pids[-1], signal.SIGTERM)
        await reached(140)
        os.kill(workers.pids[0], signal.SIGKILL)
        await settled(admin)
    finally:
        await workers.close()
    found = await stored_results(admin)
    assert Counter(event.job for _, event in found) == Counter(f"i-{n}" for n in range(200))
    assert all(isinstance(event, Verdict) and event.cause is None for _, event in found)
    assert [letter async for letter in dlq.entries(admin)] == []
    again = ((await js.consumer_info("VLM", "vlm-verify")).delivered.consumer_seq or 0) - 200
    print(f"200 verdicts, {again} redeliveries")
    assert again > 0


def _pids(pattern: str) -> list[int]:
    """The matching processes of this machine, orphans included."""
    found = subprocess.run(["pgrep", "-f", f"python.* -m {pattern}"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


SERVER = f"vllm.entrypoints.openai.api_server .*{OURS}"


async def test_an_own_vllm_is_started_watched_and_ended(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    log = tmp_path / "vlm.log"
    seqs = await film(admin, 4)
    process = start(server, log)
    try:
        async with fronting(server):
            query = {"kind": "verify", "camera": "lobby", "prompt": "A tram?", "segments": seqs, "wait_s": 150}
            verdict = await ask(admin, 150, **query)
            assert verdict["model"] == "tiny-random-untrained" and verdict.get("cause") is None
            (first,) = _pids(SERVER)
            os.kill(first, signal.SIGKILL)
            again = await ask(admin, 150, **query)
            assert again.get("cause") is None
            (second,) = _pids(SERVER)
            assert second != first and "vLLM died and is started again" in log.read_text()
        process.terminate()
        assert await asyncio.to_thread(process.wait, 40) == 0
        await until(lambda: not _pids(SERVER))
        # However our own process ends.
        process = start(server, log)
        await until(lambda: _pids(SERVER))
        process.kill()
        await until(lambda: not _pids(SERVER))
    finally:
        process.kill()
        process.wait()
        for pid in _pids(SERVER):
            os.kill(pid, signal.SIGKILL)


async def test_a_vllm_that_cannot_start_ends_the_process_with_a_reason(server: NatsServer, tmp_path: Path) -> None:
    log = tmp_path / "vlm.log"
    process = start(server, log, VLLM_ARGS="--no-such-argument")
    assert await asyncio.to_thread(process.wait, 90) == 2
    assert "no-such-argument" in log.read_text() and "correct VLM_MODEL or VLLM_ARGS" in log.read_text()
    process = start(server, log, VLM_PYTHON="/nowhere/python")
    assert await asyncio.to_thread(process.wait, 30) == 2
    assert "VLM_PYTHON=/nowhere/python" in log.read_text()


def test_the_command_line_answers_a_question_about_a_camera(vllm: VllmProcess, tmp_path: Path) -> None:
    """Start without a worker: the question starts one. Captions are generated meanwhile, and summarised."""
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
        deadline = time.monotonic() + patience_s()
        while not (data / "run.json").exists():
            assert up.poll() is None and time.monotonic() < deadline, (tmp_path / "up.log").read_text()
            time.sleep(0.1)
        tidegate(data, "camera", "add", "lobby", str(video), "--loop", "--caption-every", "5")
        time.sleep(6)  # clock: the camera films more than one stretch
        question = ("ask", "Who is there?", "--camera", "lobby", "--save", str(tmp_path / "seen"))
        answered = tidegate(data, *question, check=False)
        assert answered.returncode == 0 or "broke the schema" in answered.stderr, answered.stderr
        assert "frames, by tiny-random" in answered.stdout
        pictures = sorted((tmp_path / "seen").iterdir())
        assert pictures and all(Image.open(p).format == "JPEG" for p in pictures)
        deadline = time.monotonic() + patience_s()
        while True:
            summed = tidegate(data, "summarize", "--camera", "lobby", "--since", "2m", "--json", check=False)
            captioned = summed.returncode == 0 and json.loads(summed.stdout)["captions"]
            if captioned or time.monotonic() > deadline:
                break
            time.sleep(2)
        assert summed.returncode == 0, summed.stderr
        event = json.loads(summed.stdout)
        assert event["captions"] >= 1 and event["text"]
        assert "vlm-front" in str(sorted(p.name for p in (data / "logs").iterdir()))
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(patience_s())
        finally:
            up.kill()
    assert "vlm:" in (tmp_path / "up.log").read_text()
