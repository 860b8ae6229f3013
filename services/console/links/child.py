"""Run another service's module as a child process that reads a question from standard input, answers, and ends.

The child never outlives this process, has none of its passwords, and is killed when the caller stops waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator

from shared.runtime.child import bound, python
from shared.runtime.errors import TidegateError
from shared.runtime.tasks import end

# The only variables of our environment that the child inherits.
_INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ")
_INHERITED_PREFIXES = ("COVERAGE_",)
_POLL_S = 0.02

Question = AsyncGenerator[bytes, None]


class ChildFailed(TidegateError):
    """The child ended without an answer, ran too long, or wrote too much. code: its exit code, if it was not killed."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


async def once(question: bytes) -> Question:
    """Return a question of one part."""
    yield question


async def ask_child(
    module: str,
    question: Question,
    *,
    within_s: float,
    most_bytes: int,
    environment: tuple[str, ...] = (),
    codes: tuple[int, ...] = (0,),
) -> bytes:
    """Return what the child writes to standard output until it ends.

    environment: prefixes of further variables that it inherits. codes: exit codes that it may end with. Raises
    ChildFailed, and what `question` raises.
    """
    process = await asyncio.create_subprocess_exec(
        *bound(python(module)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env=inherited(environment),
        start_new_session=True,
    )
    feeding = asyncio.create_task(feed(process, question))
    try:
        async with asyncio.timeout(within_s):
            answer = await _read(process, most_bytes)
            while process.returncode is None:
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise ChildFailed(f"it took more than {within_s:.0f} s") from None
    finally:
        kill(process)
        if not feeding.done():
            await end(feeding)
    if not feeding.cancelled() and (error := feeding.exception()):
        raise error
    if process.returncode not in codes or not answer:
        code = process.returncode
        raise ChildFailed(f"a process for it ended with code {code}: see whether there is memory left", code)
    return answer


async def feed(process: Process, question: Question) -> None:
    """Write the question to the child's input, and close that."""
    assert process.stdin
    try:
        async with contextlib.aclosing(question) as parts:
            async for part in parts:
                process.stdin.write(part)
                await process.stdin.drain()
        process.stdin.close()
    except OSError:
        pass  # A child that ends early reads no further.
    except BaseException:
        # Without the rest the child would answer an incomplete question.
        kill(process)
        raise


async def _read(process: Process, most_bytes: int) -> bytes:
    assert process.stdout
    parts: list[bytes] = []
    size = 0
    while part := await process.stdout.read(65_536):
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise ChildFailed(f"its answer is over {most_bytes} bytes: ask for less")
    return b"".join(parts)


def kill(process: Process) -> None:
    """Kill the child and what it has started."""
    # After its end the process id may belong to another process.
    if process.returncode is None:
        kill_group(process)


def kill_group(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def inherited(more: tuple[str, ...]) -> dict[str, str]:
    """Return the environment of a child. more: prefixes of further variables."""
    begins = (*_INHERITED_PREFIXES, *more)
    return {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(begins)}
