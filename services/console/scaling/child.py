"""One simulation in a process of its own, which never outlives us.

    said = await simulated(python("tidegate.whatif"), request, usage, lambda progress: ...)

Cancel it, and the process and all that it started are gone when the cancellation is through.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import IO

import msgspec

from shared.contract.whatif import Failed, Progress, UsageLine, WhatIfAnswer, WhatIfRequest, decode
from shared.runtime.child import bound
from shared.runtime.errors import BadMessage, TidegateError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# Whatever it does, it has ended by then.
MOST_S = 20 * 60.0
MOST_LINE = 8 * 1024 * 1024
POLL_S = 0.1
_LOG_BYTES = 2000
# Its environment has no more than this of ours: no password, and no address of a server.
_PASSED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TZ", "XDG_CACHE_HOME")
_PASSED_TOO = ("COVERAGE_", "NUMBA_")

Tell = Callable[[Progress], None]
Usage = AsyncGenerator[UsageLine, None]


async def simulated(
    command: Sequence[str],
    request: WhatIfRequest,
    usage: Usage | None,
    tell: Tell,
    *,
    most_s: float = MOST_S,
) -> WhatIfAnswer | Failed:
    """What it says at its end. A process that dies, or takes too long, has failed, with a sentence."""
    # Whatever it leaves in its folder goes, however it ends.
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder, tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *bound(command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env=_environment() | {"TMPDIR": folder},
            start_new_session=True,
            limit=MOST_LINE,
        )
        feeding = asyncio.create_task(_feed(process, request, usage))
        ending = asyncio.create_task(_ended(process))
        try:
            async with asyncio.timeout(most_s):
                said = await _follow(process, tell)
            if said is None and feeding.done() and (error := feeding.exception()):
                raise error
            return said or await _died(process, ending, log)
        except TidegateError as e:
            return Failed(error=str(e), field="arrivals")
        except TimeoutError:
            return Failed(error=f"it took more than {most_s / 60:.0f} minutes: give fewer days, or fewer ways to scale")
        finally:
            _kill(process)
            await end(feeding)
            await _through(ending)


async def _feed(process: Process, request: WhatIfRequest, usage: Usage | None) -> None:
    """Write the request and what it needs. Whoever refuses it reads no further."""
    assert process.stdin
    try:
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        await process.stdin.drain()
        async with contextlib.aclosing(usage or _none()) as lines:
            async for line in lines:
                process.stdin.write(msgspec.json.encode(line) + b"\n")
                await process.stdin.drain()
        process.stdin.close()
    except OSError:
        pass
    except BaseException:
        # Without an end of what it reads it would simulate what has come so far.
        _kill(process)
        raise


async def _through(ending: asyncio.Task[None]) -> None:
    """Wait for it, also where a cancellation comes again meanwhile: what was killed is gone in a moment."""
    while not ending.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([ending])


async def _none() -> Usage:
    return
    yield


async def _follow(process: Process, tell: Tell) -> WhatIfAnswer | Failed | None:
    """Its last word; None where it ends without one."""
    assert process.stdout
    while line := await process.stdout.readline():
        try:
            said = decode(line)
        except BadMessage:
            continue  # what a library prints
        if not isinstance(said, Progress):
            return said
        tell(said)
    return None


async def _died(process: Process, ending: asyncio.Task[None], log: IO[bytes]) -> Failed:
    await asyncio.shield(ending)
    code = process.returncode or 0
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
    logger("console").warning("a simulation died", code=code, last=log.read().decode(errors="replace"))
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return Failed(
        error=f"the simulation ended {how} before it had an answer: give fewer days, or fewer ways to scale; the "
        "console's log has its last words"
    )


async def _ended(process: Process) -> None:
    """Wait for it. What it leaves behind holds its output open, and so ends with it."""
    while process.returncode is None:
        await asyncio.sleep(POLL_S)
    _kill_group(process)


def _kill(process: Process) -> None:
    # Once it has ended its number may be another's.
    if process.returncode is None:
        _kill_group(process)


def _kill_group(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_TOO)}
