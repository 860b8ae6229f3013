"""Answers `svc.ask`: a question becomes a job in VLM, so that a replica is started for it if none runs.

The answer is the job's event. One process is enough, and any number may run.
"""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.vlm import metrics
from services.vlm.planning import query
from shared import bus
from shared.contract import events, names
from shared.runtime.errors import BusError, Full, Refusal

# Only a misbehaving client exceeds this number of waiting questions, or a few hundred bytes each.
MOST_WAITING = 1000
MOST_WAITING_BYTES = 8 * 1024 * 1024
# During a server outage, the client gets an error after this long.
PATIENCE_S = 5.0
ANSWERS = (events.Answer, events.Summary, events.Verdict)


class _Named(msgspec.Struct, frozen=True):
    """The fields of an event that are read here."""

    job: str


class Asking:
    """Questions in flight: each is a job, and waits for its event."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: dict[tuple[str, str], asyncio.Future[bytes]] = {}
        self._bytes = 0  # of the questions that wait

    async def start(self) -> None:
        """Subscribe to answers."""
        for kind in ANSWERS:
            await self._client.subscribe(names.event(kind.kind, "*"), cb=self._hear)

    async def answer(self, payload: bytes) -> tuple[bytes, dict[str, str]]:
        """Return the event's JSON. Raises Refusal: 400 for a bad question, 503 and 504 if no answer came."""
        question = query.read(payload)
        kind = type(question).__struct_config__.tag
        try:
            found = await self._ask(question, len(payload))
        except Refusal as e:
            metrics.ASK_REQUESTS.labels(kind, e.code).inc()
            raise
        except asyncio.CancelledError:
            metrics.ASK_REQUESTS.labels(kind, 503).inc()
            raise
        metrics.ASK_REQUESTS.labels(kind, 200).inc()
        return found, {"content-type": "application/json"}

    async def _ask(self, question: query.Query, size: int) -> bytes:
        """Return the answer's payload. size: bytes of the question."""
        if len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_WAITING_BYTES:
            raise Refusal(503, f"{len(self._waiting)} questions are waiting already: ask again later")
        job = query.job_of(question, dt.datetime.now(dt.UTC))
        key = (job.camera, query.name_of(job))
        loop = asyncio.get_running_loop()
        until, future = loop.time() + question.wait_s, loop.create_future()
        self._waiting[key] = future
        self._bytes += size
        try:
            # Nothing cancels this: before Python 3.12 the cancellation could be swallowed, and the wait never end.
            await bus.publish_job_now(self._client, job, patience_s=min(PATIENCE_S, question.wait_s))
            async with asyncio.timeout_at(until):
                found: bytes = await future
                return found
        except TimeoutError as e:
            raise Refusal(
                504,
                f"no answer within {question.wait_s:g} s, so nobody begins with it any more; where a worker has begun, "
                f"it still comes as an event with job {key[1]}, or is a dead letter of vlm. Ask with a longer wait_s, "
                "or see whether a worker of vlm runs",
            ) from e
        except Full as e:
            raise Refusal(503, "VLM_MAX_ASKS questions are waiting already: ask again later, or have it raised") from e
        except BusError as e:
            raise Refusal(503, f"the question can't be put into {names.ASKS}: {e}") from e
        finally:
            del self._waiting[key]
            self._bytes -= size

    async def _hear(self, message: Msg) -> None:
        if not self._waiting:
            return
        try:
            job = msgspec.json.decode(message.data, type=_Named).job
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        future = self._waiting.get((message.subject.rpartition(".")[2], job))
        if future and not future.done():
            future.set_result(message.data)
