"""Runs that caption recordings and are killed, lose their model, or are resumed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.servers import tiny_vlm, vllm_process
from tests.support.servers.openai_server import refused
from tests.support.waiting import patience_s, until
from tests.support.worlds.archive_world import store
from tests.support.worlds.caption_runs import SLOW_S, World, each_once, until_captioned, world
from tidegate.archive.frames.decoding import FILE_MISSING

__all__ = ["store", "world"]


@pytest.mark.slow
async def test_a_killed_run_is_resumed_and_each_stretch_is_captioned_once(world: World) -> None:
    """One a second: of 40 stretches of a camera 32 are one object, which is not written again."""
    world.model.delay_s = SLOW_S
    process = world.begin(*world.run("--caption-every", "1"))
    await until(lambda: bool(list((world.output / "captions").rglob("*.parquet"))) or process.poll() is not None)
    assert process.poll() is None
    process.kill()
    await asyncio.to_thread(process.communicate, timeout=patience_s())
    whole = {path: path.stat().st_mtime_ns for path in (world.output / "captions").rglob("*.parquet")}
    world.model.delay_s = 0.0
    before = len(world.model.requests)
    out, _ = await world.done(*world.resume())
    assert each_once(world) and {path: path.stat().st_mtime_ns for path in whole} == whole
    again = len(world.model.requests) - before
    assert again < len(world.captions()) - 32 + 20, "what was written is not done again, but for the measurement"
    # Another resume has no work and makes no request.
    before = len(world.model.requests)
    await world.done(*world.resume())
    assert len(world.model.requests) == before
    assert f"{len(world.captions())} captions by fake" in out


@pytest.mark.slow
async def test_ctrl_c_and_a_lost_model_end_the_run_with_the_resume_command(world: World) -> None:
    world.model.delay_s = SLOW_S
    process = world.begin(*world.run("--caption-every", "1"))
    await until_captioned(world, process, 30)
    process.send_signal(signal.SIGINT)
    _, output = await asyncio.to_thread(process.communicate, timeout=patience_s())
    assert process.returncode == 130 and f"--resume {world.output}" in output and "Traceback" not in output
    before = len(world.model.requests)
    world.environment["VLM_OUTAGE_TIMEOUT_S"] = "3"
    process = world.begin(*world.resume())
    await until_captioned(world, process, before + 20)
    await world.model.__aexit__()
    _, output = await asyncio.to_thread(process.communicate, timeout=patience_s())
    assert process.returncode == 1 and "can't be reached" in output and f"--resume {world.output}" in output
    await world.model.__aenter__()
    await world.done(*world.resume())
    assert each_once(world)


@pytest.mark.slow
async def test_one_refusal_is_reported_and_refusal_of_all_ends_the_run(world: World) -> None:
    seen = 0

    async def some(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        # After those of the measurement.
        return await (refused(400, "not this one")(request, body) if seen == 12 else world.model._answer(request, body))

    world.model.then = some
    out, _ = await world.done(*world.run("--camera", "alley"))
    failed = Counter(row["failed"] for row in world.captions())
    assert failed[None] == len(world.captions()) - 1 and sum("not this one" in (why or "") for why in failed) == 1
    assert "1 could not be: 'failed' in captions says why" in out
    assert "1 of its stretches could not be captioned" in (world.output / "report.html").read_text()

    async def none(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        return await (refused(400, "none")(request, body) if seen > 10 else world.model._answer(request, body))

    seen, world.model.then = 0, none
    shutil.rmtree(world.output)
    _, output = await world.done(*world.run("--caption-every", "1"), code=1)
    assert "16 captions failed one after the other" in output and f"--resume {world.output}" in output


@pytest.mark.slow
async def test_another_model_cannot_resume_the_run(world: World) -> None:
    world.model.delay_s = SLOW_S
    process = world.begin(*world.run("--caption-every", "1"))
    await until_captioned(world, process, 20)
    process.kill()
    await asyncio.to_thread(process.communicate, timeout=patience_s())
    world.model.models = ["better"]
    _, output = await world.done(*world.resume(), code=1)
    assert "captioned by fake" in output and "better" in output and "begin another run" in output


@pytest.mark.slow
async def test_missing_or_damaged_video_is_reported(world: World, store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "recordings"
    shutil.copytree(store, copied)
    first, second, *_ = sorted((copied / "alley").rglob("*.mp4"))
    first.unlink()
    data = bytearray(second.read_bytes())
    data[20_000:] = bytes(len(data) - 20_000)
    second.write_bytes(data)
    await world.done(*world.run(store=copied))
    failed = [row for row in world.captions() if row["failed"]]
    assert {row["camera"] for row in failed} == {"alley"}
    assert FILE_MISSING in {row["failed"] for row in failed} and all(not row["text"] for row in failed)
    assert len([row for row in world.captions() if row["camera"] == "crossing" and row["text"]]) >= 8


@pytest.mark.slow
async def test_the_key_of_the_model_is_in_no_output(world: World) -> None:
    world.environment["VLM_KEY"] = "s3cr3t-of-the-model"
    out, err = await world.done(*world.run("--camera", "alley"))
    assert set(world.model.keys) == {"Bearer s3cr3t-of-the-model"}
    written = b"".join(path.read_bytes() for path in world.output.rglob("*") if path.is_file())
    assert "s3cr3t" not in out + err and b"s3cr3t" not in written


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.alone
@pytest.mark.xdist_group("computing")
@pytest.mark.skipif(not vllm_process.is_installed(), reason="vLLM is not installed: make vllm")
async def test_a_vllm_of_the_run_may_die_and_ends_with_the_run(world: World) -> None:
    """Both loads take longer than the permitted outage of an endpoint."""
    seed = f"--seed={os.getpid()}"
    del world.environment["VLM_URL"]
    world.environment |= tiny_vlm.ENV | {
        "VLM_PYTHON": str(vllm_process.PYTHON),
        "VLM_MODEL": str(vllm_process.MODEL),
        "VLLM_ARGS": " ".join((*tiny_vlm.ARGS, seed)),
        "VLM_MAX_TOKENS": "200",
        "VLM_CONTEXT": "8192",
        "VLM_FRAMES": "4",
        "VLM_SIZE": "224",
    }
    process = world.begin(*world.run("--caption-every", "1"))
    await until(lambda: (world.output / "plan.json").exists() or process.poll() is not None)
    (server,) = await asyncio.to_thread(_pids, seed)
    os.kill(server, signal.SIGKILL)
    out, err = await asyncio.to_thread(process.communicate, timeout=3 * patience_s())
    assert process.returncode == 0 and "captions by tiny-random-untrained" in out, err
    assert err.count(" starting ") == 2 and each_once(world)
    assert not await asyncio.to_thread(_pids, seed)


def _pids(argument: str) -> list[int]:
    """The process of the server itself, without its workers."""
    found = subprocess.run(["pgrep", "-f", f"api_server .*{argument}"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]
