"""A vLLM of our own: started on loopback, supervised, restarted when it dies, and stopped with us.

    async with VllmServer(settings) as server:
        server.url, server.key
        await server.failed()        # raises ModelError if it can't start, else waits forever

Its `/health` shows when the model is loaded, as with any other endpoint.
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
import sys
import time
from collections import deque

from services.vlm import metrics
from services.vlm.settings import VlmSettings
from shared.runtime import child, install
from shared.runtime.backoff import Backoff
from shared.runtime.errors import ModelError
from shared.runtime.ports import free_port
from shared.runtime.redact import redact
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

MODULE = "vllm.entrypoints.openai.api_server"
# The time for its exit: with frames in every request, its batches take longer than batches of text.
STOP_S = 8.0
SAY_EVERY_S = 15.0
RESTARTS = Backoff(first_s=0.5, longest_s=30.0)
# A server that lived this long was healthy: its death is a new failure, not the old one.
HEALED_S = 300.0
TAIL_LINES = 20
LAST_WORDS_S = 2.0
# Our variables with these prefixes are hidden from it.
SECRETS = ("NATS_", "VLM_KEY", "OTEL_")
POLL_S = 0.1
# Maximum bytes of a line of its log; longer ones are cut.
LINE_BYTES = 1 << 20


class VllmServer:
    """See the module. Raises ModelError if vLLM is not installed."""

    def __init__(self, settings: VlmSettings) -> None:
        self.key = secrets.token_urlsafe(24)
        self._settings = settings
        self._python = find_python(settings)
        self._port = free_port(0)
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._was_well = False
        self._running: asyncio.Task[None] | None = None
        self._log = logger("vllm")

    def command(self) -> list[str]:
        """The command to run. VLLM_ARGS come last, so that they win."""
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
            # Answers obey a JSON schema. Without free whitespace the model can't pad them with it.
            '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
            *shlex.split(s.vllm_args),
        ]

    async def __aenter__(self) -> VllmServer:
        self._running = asyncio.create_task(self._run(), name="vllm")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._running)
        await self._stop()

    def is_well(self) -> None:
        """Record that it has answered. If it exits from now on, the settings are not to blame."""
        self._was_well = True

    async def failed(self) -> None:
        """Raise ModelError if it exits before it was ever healthy; else wait forever."""
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
        """Run it once, with its log in ours; return its exit code."""
        self._log.info("starting", model=self._settings.vlm_model, url=self.url)
        # The key is in the environment, as every user of the machine sees arguments. So is the safe path, which
        # prevents execution of this folder's code: its Python may be older than the option for that.
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
            # Its orphaned processes still hold the GPU, and our end of its log.
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
            except ValueError:  # the line is longer than LINE_BYTES, and its part read so far is lost
                continue
            if not raw:
                return
            if line := raw.decode(errors="replace").rstrip():
                self._lines.append(line)
                self._log.debug(line)

    async def _say(self) -> None:
        """Log that the model is still loading, until it is well."""
        started = time.monotonic()
        while not self._was_well:
            await asyncio.sleep(SAY_EVERY_S)
            if not self._was_well:
                last = redact(self._lines[-1], 200) if self._lines else ""
                self._log.info("loading", seconds=round(time.monotonic() - started), last=last)

    async def _stop(self) -> None:
        """End its whole process group, by SIGTERM, then SIGKILL: the engine is a process next to the server."""
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
    """Return its exit code. `process.wait` would also wait for its engine, which may hold its output open."""
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
            f"VLM_MODEL asks for a vLLM, which is not installed here: {install.command('vllm')}, on a CPU make "
            "vllm; or name its Python by VLM_PYTHON, or set VLM_URL to an endpoint that runs"
        )
    return python
