"""A real vLLM with the tiny model, as a process that tests may kill: `make vllm` installs it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path

from shared.runtime import child
from shared.runtime.ports import free_port
from tests.support.paths import ROOT
from tests.support.servers import tiny_vlm

PYTHON = ROOT / ".vllm/bin/python"
MODEL = ROOT / ".vllm/tiny-random"
# A cold start took 30 s on two cores.
START_S = 240.0
SLOTS = 8
CONTEXT = 8192


def is_installed() -> bool:
    return PYTHON.exists() and (MODEL / "config.json").exists()


def apart() -> list[int]:
    """All cores but one, for a vLLM: its busy loops block a core for up to seconds."""
    *most, _ = sorted(os.sched_getaffinity(0))
    return most


def on(cores: Collection[int], command: list[str]) -> list[str]:
    """`command` on those cores alone; without any, on all."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores)), *command] if cores else command


class VllmProcess:
    """A vLLM on one port over restarts. args: further arguments of vLLM. cores: the only ones that it may use."""

    model = "tiny-random"

    def __init__(self, log: Path, *args: str, cores: Collection[int] = ()) -> None:
        self.log = log
        self._args = args
        self._cores = cores
        self.port = free_port(0)
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start to load."""
        command = [
            str(PYTHON),
            "-m",
            "vllm.entrypoints.openai.api_server",
            f"--model={MODEL}",
            f"--served-model-name={self.model}",
            "--host=127.0.0.1",
            f"--port={self.port}",
            f"--max-num-seqs={SLOTS}",
            f"--max-model-len={CONTEXT}",
            '--limit-mm-per-prompt={"image": 16, "video": 1}',
            '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
            *tiny_vlm.ARGS,
            *self._args,
        ]
        self._process = child.spawn(on(self._cores, command), log=self.log, env=os.environ | tiny_vlm.ENV)

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, urllib.error.URLError):
                if urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).status == 200:
                    return
            assert self._process and self._process.poll() is None, child.last_lines(self.log, 20)
            time.sleep(0.2)
        raise TimeoutError(child.last_lines(self.log, 20))

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """All of its processes, the engine included."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sig)
            self._process.wait()
            self._process = None
