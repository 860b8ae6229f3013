"""A few decoding child processes, and their queue of requests.

    decoders = Decoders(1)                           # `run` lets them work
    picture = await decoders.picture(payload, before=..., offset=0.4, width=640, frames=25)

The newest request is served first: a page needs what it shows now. A child that dies loses one picture, and another
child replaces it. An idle child is ended after `idle_s`, if that is given: it holds some 60 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

import msgspec

from shared.contract.events import Box
from shared.contract.geometry import Point
from shared.runtime.child import bound, plain_environment, python
from shared.runtime.errors import Refusal
from shared.runtime.tasks import supervise
from shared.runtime.telemetry import logger
from shared.video.decoding import work
from shared.video.decoding.work import LENGTH, MOST_BYTES, PictureAnswer, PictureRequest

# Waiting pictures; beyond that, the oldest request is refused.
MOST_WAITING = 64
# A child that is silent for this long hangs: its own limits count only CPU time.
_TIMEOUT_S = 120.0
_CHILD_ERRORS = (OSError, EOFError, TimeoutError, msgspec.DecodeError, msgspec.ValidationError)


class _PendingPicture:
    """A requested picture, and the future of its answer."""

    def __init__(self, request: PictureRequest) -> None:
        self.request = request
        self.answer: asyncio.Future[PictureAnswer] = asyncio.get_running_loop().create_future()

    def refuse(self, code: int, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(Refusal(code, reason))


class Decoders:
    """See the module. count: number of children. owner: the service, for its log. idle_s: None: children stay."""

    def __init__(self, count: int, *, owner: str = "console", idle_s: float | None = None) -> None:
        self._count = count
        self._owner = owner
        self._idle_s = idle_s
        self._waiting: list[_PendingPicture] = []
        self._wakeup = asyncio.Condition()
        self._tags = 0

    async def run(self) -> None:
        """Run until cancelled. A child starts with its first request."""
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
        masks: Sequence[Sequence[Point]] = (),
        most_bytes: int = 0,
    ) -> PictureAnswer:
        """Decode a picture: see `PictureRequest`. Raises Refusal if it can't be decoded, or too many wait."""
        if len(payload) + sum(map(len, before)) > MOST_BYTES // 2:
            raise Refusal(500, f"what is decoded for this picture is over {MOST_BYTES // 2**21} MB: shorten its GOPs")
        self._tags += 1
        pending = _PendingPicture(
            PictureRequest(
                tag=self._tags,
                payload=payload,
                before=tuple(before),
                offset=offset,
                width=width,
                frames=frames,
                boxes=tuple(boxes),
                masks=tuple(map(tuple, masks)),
                most_bytes=most_bytes,
            )
        )
        async with self._wakeup:
            self._waiting.append(pending)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.pop(0).refuse(503, "too many pictures are asked for: try again in a moment")
            self._wakeup.notify()
        try:
            return await pending.answer
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(pending)

    async def _work(self) -> None:
        child = _Child()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._idle_s if child.runs else None), self._wakeup:
                        await self._wakeup.wait_for(lambda: self._waiting)
                if self._waiting:
                    await self._make(child, self._waiting.pop())
                else:
                    await child.end()
        finally:
            await child.end()

    async def _make(self, child: _Child, pending: _PendingPicture) -> None:
        """Decode one picture, even if its request was abandoned: its answer must not reach the next request."""
        try:
            answer = await child.ask(pending.request)
        except _CHILD_ERRORS as e:
            await child.end()
            logger(self._owner).warning("a picture ended the process that made it", reason=str(e) or type(e).__name__)
            pending.refuse(500, "this picture takes more memory or time than it may: its camera's video is damaged")
            return
        except BaseException:
            pending.refuse(503, f"{self._owner} ends")
            raise
        if answer.error:
            pending.refuse(500, f"there is no picture of this video: {answer.error}")
        elif not pending.answer.done():
            pending.answer.set_result(answer)


class _Child:
    """One process at a time, started on request."""

    def __init__(self) -> None:
        self._process: Process | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    async def ask(self, request: PictureRequest) -> PictureAnswer:
        """Send a request. Raises one of `_CHILD_ERRORS` if the process dies, or does not answer this request."""
        process = self._process = self._process or await _start()
        assert process.stdin and process.stdout
        async with asyncio.timeout(_TIMEOUT_S):
            process.stdin.write(work.with_length(request))
            await process.stdin.drain()
            size = int.from_bytes(await process.stdout.readexactly(LENGTH), "big")
            if size > MOST_BYTES:
                raise OSError("it answers with too much")
            answer = work.decode_answer(await process.stdout.readexactly(size))
        if answer.tag != request.tag:
            raise OSError("it answers what it was not asked")
        return answer

    async def end(self) -> None:
        """Kill the process: it has no state to lose."""
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
        *bound(python("shared.video.decoding.child")),
        stdin=PIPE,
        stdout=PIPE,
        env=plain_environment() | {"OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
    )
