"""One simulation in a child process, which never outlives the console.

When its cancellation completes, the process and all that it started have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import IO

import msgspec

from services.console.links.child import Question, feed, inherited, kill, kill_group
from shared.contract.questions.whatif import Failed, Progress, UsageLine, WhatIfAnswer, WhatIfRequest, decode
from shared.runtime.child import bound
from shared.runtime.errors import BadMessage, TidegateError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# The longest time of a simulation.
MOST_S = 20 * 60.0
MOST_LINE = 8 * 1024 * 1024
POLL_S = 0.1
_LOG_BYTES = 2000

OnProgress = Callable[[Progress], None]
Usage = AsyncGenerator[UsageLine, None]


async def simulate(
    command: Sequence[str],
    request: WhatIfRequest,
    usage: Usage | None,
    on_progress: OnProgress,
    *,
    most_s: float = MOST_S,
) -> WhatIfAnswer | Failed:
    """Return the simulation's result. A process that dies, or takes too long, has failed, with a sentence."""
    # The folder is removed, however the process ends.
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder, tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *bound(command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env=inherited(("NUMBA_", "XDG_CACHE_HOME")) | {"TMPDIR": folder},
            start_new_session=True,
            limit=MOST_LINE,
        )
        feeding = asyncio.create_task(feed(process, _question(request, usage)))
        ending = asyncio.create_task(_watch_end(process))
        try:
            async with asyncio.timeout(most_s):
                result = await _follow(process, on_progress)
            if result is None and feeding.done() and (error := feeding.exception()):
                raise error
            return result or await _failure(process, ending, log)
        except TidegateError as e:
            return Failed(error=str(e), field="arrivals")
        except TimeoutError:
            return Failed(error=f"it took more than {most_s / 60:.0f} minutes: give fewer days, or fewer ways to scale")
        finally:
            kill(process)
            await end(feeding)
            await _wait_until_done(ending)


async def _question(request: WhatIfRequest, usage: Usage | None) -> Question:
    yield msgspec.json.encode(request) + b"\n"
    if usage:
        async with contextlib.aclosing(usage):
            async for line in usage:
                yield msgspec.json.encode(line) + b"\n"


async def _wait_until_done(ending: asyncio.Task[None]) -> None:
    """Wait for the task even if this one is cancelled again: a killed process ends in a moment."""
    while not ending.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([ending])


async def _follow(process: Process, on_progress: OnProgress) -> WhatIfAnswer | Failed | None:
    """Return the process's result; None if it ends without one."""
    assert process.stdout
    while line := await process.stdout.readline():
        try:
            message = decode(line)
        except BadMessage:
            continue  # what a library prints
        if not isinstance(message, Progress):
            return message
        on_progress(message)
    return None


async def _failure(process: Process, ending: asyncio.Task[None], log: IO[bytes]) -> Failed:
    await asyncio.shield(ending)
    code = process.returncode or 0
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
    logger("console").warning("a simulation died", code=code, last=log.read().decode(errors="replace"))
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return Failed(
        error=f"the simulation ended {how} before it had an answer: give fewer days, or fewer ways to scale; the "
        "console's log has its last words"
    )


async def _watch_end(process: Process) -> None:
    """Wait for the process, then kill its group: leftover children would hold its output open."""
    while process.returncode is None:
        await asyncio.sleep(POLL_S)
    kill_group(process)
