"""A vLLM of our own: started on loopback, watched, started again when it dies, and gone when we are.

    async with VllmServer(settings) as server:
        server.url, server.key
        await server.failed()        # waits for ever, unless it can't even start: raises ModelError

That it has loaded is seen by its `/health`, as of any other endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import time
from collections import deque
from types import TracebackType

from services.vlm import metrics
from services.vlm.settings import VlmSettings
from shared.runtime import child
from shared.runtime.backoff import Backoff
from shared.runtime.errors import ModelError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

MODULE = "vllm.entrypoints.openai.api_server"
# With frames in every request its batches need longer to end than a batch of text.
STOP_S = 8.0
SAY_EVERY_S = 15.0
RESTARTS = Backoff(first_s=0.5, longest_s=30.0)
# A server that lived this long was well: its death is a new trouble, not the old one.
HEALED_S = 300.0
KEPT_LINES = 20
LAST_WORDS_S = 2.0
# Variables of ours that are none of its business.
SECRETS = ("NATS_", "VLM_KEY", "OTEL_")
POLL_S = 0.1
# A day's log goes through us: a line of it that is longer is cut.
LINE_BYTES = 1 << 20


class VllmServer:
    """See the module. Raises ModelError where vLLM is not installed."""

    def __init__(self, settings: VlmSettings) -> None:
        self.key = secrets.token_urlsafe(24)
        self._settings = settings
        self._python = find_python(settings)
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._was_well = False
        self._running: asyncio.Task[None] | None = None
        self._log = logger("vllm")

    def command(self) -> list[str]:
        """What is run. VLLM_ARGS come last, so that they win."""
        s = self._settings
        return [
            self._python,
            "-m",
            MODULE,
            "--host=127.0.0.1",
            f"--port={self._port}",
            f"--model={s.vlm_model}",
            f"--max-num-seqs={s.vlm_batch_size}",
            f"--max-model-len={s.vlm_context}",
            f"--tensor-parallel-size={s.num_gpus}",
            f"--limit-mm-per-prompt={json.dumps({'image': s.vlm_frames, 'video': 1})}",
            # Answers obey a JSON schema: no whitespace to wander off in.
            '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
            *shlex.split(s.vllm_args),
        ]

    async def __aenter__(self) -> VllmServer:
        self._running = asyncio.create_task(self._run(), name="vllm")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(self._running)
        await self._stop()

    def is_well(self) -> None:
        """It has answered: from now on its end is no fault of the settings."""
        self._was_well = True

    async def failed(self) -> None:
        """Waits for ever, unless it ends before it was ever well: raises ModelError."""
        if self._running:
            await asyncio.shield(self._running)

    async def _run(self) -> None:
        tries = 0
        while True:
            started = time.monotonic()
            code = await self._live()
            last = " | ".join(list(self._lines)[-5:])
            if not self._was_well:
                raise ModelError(
                    f"vLLM ended with {code} before it was ready: {last[-1500:]}: correct VLM_MODEL or VLLM_ARGS"
                )
            tries = 1 if time.monotonic() - started > HEALED_S else tries + 1
            metrics.RESTARTS.inc()
            self._log.error("vLLM died and is started again", code=code, last=last[-500:])
            await asyncio.sleep(RESTARTS.after(tries))

    async def _live(self) -> int:
        """One life of it: its log goes to ours; its exit code."""
        self._log.info("starting", model=self._settings.vlm_model, url=self.url)
        # The key by the environment, as every user sees arguments. So is what keeps code of this folder from being run:
        # its Python may be older than that option.
        env = os.environ | {"VLLM_API_KEY": self.key, "VLLM_NO_USAGE_STATS": "1", "PYTHONSAFEPATH": "1"}
        for name in [name for name in env if name.startswith(SECRETS)]:
            del env[name]
        self._process = await asyncio.create_subprocess_exec(
            *child.bound(self.command()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            start_new_session=True,
            limit=LINE_BYTES,
        )
        beside = [asyncio.create_task(self._say()), asyncio.create_task(self._read(self._process))]
        try:
            code = await _ended(self._process)
            # What it has left behind has the GPU, and our end of its log.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.wait(beside[1:], timeout=LAST_WORDS_S)
            return code
        finally:
            await end(*beside)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                raw = await process.stdout.readline()
            except ValueError:  # longer than LINE_BYTES: what was read of it is gone
                continue
            if not raw:
                return
            if line := raw.decode(errors="replace").rstrip():
                self._lines.append(line)
                self._log.debug(line)

    async def _say(self) -> None:
        """That it goes on, for as long as a model takes to load."""
        started = time.monotonic()
        while not self._was_well:
            await asyncio.sleep(SAY_EVERY_S)
            if not self._was_well:
                last = self._lines[-1][:200] if self._lines else ""
                self._log.info("loading", seconds=round(time.monotonic() - started), last=last)

    async def _stop(self) -> None:
        """Its whole process group, by SIGTERM, then SIGKILL: the engine is a process beside the server."""
        process = self._process
        if process is None:
            return
        for sig, seconds in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sig)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await _ended(process)
        self._process = None


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Its exit code, once it has one. `process.wait` waits for all who have its output open too, as its engine may."""
    while process.returncode is None:
        await asyncio.sleep(POLL_S)
    return process.returncode


def find_python(settings: VlmSettings) -> str:
    """The Python that vLLM runs in. Raises ModelError with the remedy."""
    python = settings.vlm_python or sys.executable
    if settings.vlm_python and shutil.which(python) is None:
        raise ModelError(f"VLM_PYTHON={python} is no Python that can be run: give the one of the environment with vLLM")
    if not settings.vlm_python and importlib.util.find_spec("vllm") is None:
        raise ModelError(
            "VLM_MODEL asks for a vLLM, which is not installed here: pip install 'tidegate[vllm]', on a CPU make "
            "vllm; or name its Python by VLM_PYTHON, or set VLM_URL to an endpoint that runs"
        )
    return python


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
