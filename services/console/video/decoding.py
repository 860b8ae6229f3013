"""A few child processes that decode, and what waits for them.

    decoders = Decoders(1)                           # `run` keeps them at work
    made = await decoders.picture(payload, before=…, offset=0.4, width=640, frames=25)

What was asked last is done first: whoever looks at a page wants what it shows now. A child that dies takes one picture
with it, and another child takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

import msgspec

from services.console.video import work
from services.console.video.work import LENGTH, MOST_BYTES, Made, Wanted
from shared.contract.events import Box
from shared.runtime.child import bound, plain_environment, python
from shared.runtime.errors import Refusal
from shared.runtime.tasks import supervise
from shared.runtime.telemetry import logger

# Pictures that wait; over that, the one that has waited longest is refused.
MOST_WAITING = 64
# A child that is silent for so long hangs: its own limits are of its processor's time.
_PATIENCE_S = 120.0
_GONE = (OSError, EOFError, TimeoutError, msgspec.DecodeError, msgspec.ValidationError)


class _Asked:
    """A picture that somebody waits for."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.made: asyncio.Future[Made] = asyncio.get_running_loop().create_future()

    def refuse(self, code: int, reason: str) -> None:
        if not self.made.done():
            self.made.set_exception(Refusal(code, reason))


class Decoders:
    """See the module. count: of children."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._waiting: list[_Asked] = []
        self._came = asyncio.Condition()
        self._tags = 0

    async def run(self) -> None:
        """Until cancelled. A child is started when there is something for it to do."""
        await supervise(*(self._work() for _ in range(self._count)))

    async def picture(
        self,
        payload: bytes,
        *,
        before: Sequence[bytes] = (),
        offset: float = 0.0,
        width: int = 640,
        frames: int = 1,
        boxes: Sequence[Box] = (),
    ) -> Made:
        """See `Wanted`. Raises Refusal where it can't be made, or too many wait."""
        if len(payload) + sum(map(len, before)) > MOST_BYTES // 2:
            raise Refusal(500, f"what is decoded for this picture is over {MOST_BYTES // 2**21} MB: shorten its GOPs")
        self._tags += 1
        asked = _Asked(
            Wanted(
                tag=self._tags,
                payload=payload,
                before=tuple(before),
                offset=offset,
                width=width,
                frames=frames,
                boxes=tuple(boxes),
            )
        )
        async with self._came:
            self._waiting.append(asked)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.pop(0).refuse(503, "too many pictures are asked for: try again in a moment")
            self._came.notify()
        try:
            return await asked.made
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(asked)

    async def _work(self) -> None:
        child = _Child()
        try:
            while True:
                async with self._came:
                    await self._came.wait_for(lambda: self._waiting)
                    asked = self._waiting.pop()
                await self._make(child, asked)
        finally:
            await child.end()

    async def _make(self, child: _Child, asked: _Asked) -> None:
        """A picture that nobody waits for any more is made to its end: its answer must not be taken for the next."""
        try:
            made = await child.ask(asked.wanted)
        except _GONE as e:
            await child.end()
            logger("console").warning("a picture ended the process that made it", reason=str(e) or type(e).__name__)
            asked.refuse(500, "this picture takes more memory or time than it may: its camera's video is damaged")
            return
        except BaseException:
            asked.refuse(503, "the console ends")
            raise
        if made.error:
            asked.refuse(500, f"there is no picture of this video: {made.error}")
        elif not asked.made.done():
            asked.made.set_result(made)


class _Child:
    """One process at a time, started when it is asked."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def ask(self, wanted: Wanted) -> Made:
        """Raises what `_GONE` lists where the process dies, or does not answer this."""
        process = self._process = self._process or await _start()
        assert process.stdin and process.stdout
        async with asyncio.timeout(_PATIENCE_S):
            process.stdin.write(work.framed(wanted))
            await process.stdin.drain()
            size = int.from_bytes(await process.stdout.readexactly(LENGTH), "big")
            if size > MOST_BYTES:
                raise OSError("it answers with too much")
            made = work.made(await process.stdout.readexactly(size))
        if made.tag != wanted.tag:
            raise OSError("it answers what it was not asked")
        return made

    async def end(self) -> None:
        """Kill it: it has nothing that it would lose."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        while process.returncode is None:
            await asyncio.sleep(0.01)
        if process.stdin:
            process.stdin.close()


async def _start() -> Process:
    return await asyncio.create_subprocess_exec(
        *bound(python("services.console.video.child")),
        stdin=PIPE,
        stdout=PIPE,
        env=plain_environment() | {"OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
