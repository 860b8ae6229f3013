"""vlm with a real vLLM of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.contract.work import jobs
from tests.support.servers import tiny_vlm, vllm_process
from tests.support.servers.vllm_process import VllmProcess
from tidegate.local.server import NatsServer

# A verdict's reason may be four tokens a character, where each token is a byte.
TOKENS = 1200


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
    """Start it once, because it takes half a minute; end it with this file, because even idle it uses a core."""
    process = VllmProcess(tmp_path_factory.mktemp("vllm") / "vllm.log", cores=vllm_process.apart())
    process.start()
    try:
        process.wait()
        yield process
    finally:
        process.kill()


def verify(name: str, seqs: list[int]) -> jobs.Verify:
    return jobs.Verify(camera="lobby", incident=name, prompt="A tram is there.", segments=seqs)


# Other tests with a vLLM may run concurrently.
OURS = f"--seed={os.getpid()}"


def start(server: NatsServer, log: Path, **env: str) -> subprocess.Popen[bytes]:
    given = {
        "VLM_PYTHON": str(vllm_process.PYTHON),
        "VLM_MODEL": str(vllm_process.MODEL),
        "VLLM_ARGS": " ".join((*tiny_vlm.ARGS, OURS)),
        "VLM_MAX_TOKENS": str(TOKENS),
        "VLM_CONTEXT": "8192",
        "VLM_FRAMES": "4",
        "VLM_GRACE_S": "10",
    }
    with log.open("wb") as out:
        return subprocess.Popen(
            vllm_process.on(vllm_process.apart(), [sys.executable, "-m", "services.vlm"]),
            env=os.environ | tiny_vlm.ENV | server.environment("vlm") | given | env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
