"""The simulations of each person, their progress and their results.

Example:
    whatif = WhatIf()
    job = whatif.start("ana", request, usage)      # raises Refused
    whatif.find("ana", job.id)                     # None for another person's, or a forgotten one
    await whatif.cancel("ana", job.id)             # ends its process
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import Callable, Sequence

from services.console.scaling.child import Usage, simulate
from services.console.web.refused import Refused
from shared.contract.questions.whatif import Failed, Progress, WhatIfAnswer, WhatIfRequest
from shared.runtime.child import python
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

MOST_AT_ONCE = 2
RETENTION_S = 15 * 60.0
MOST_RESULTS = 20
SWEEP_S = 30.0


class Job:
    """One simulation. result: once it has ended. of_cameras: it shows the arrivals of all cameras."""

    def __init__(self, person: str, request: WhatIfRequest) -> None:
        self.id = secrets.token_urlsafe(12)
        self.person = person
        self.service = request.service
        self.of_cameras = request.arrivals == "usage"
        self.began = dt.datetime.now(dt.UTC)
        self.progress = Progress(progress=0.0, doing="beginning")
        self.result: WhatIfAnswer | Failed | None = None
        self.ended_at = 0.0
        self.task: asyncio.Task[None] | None = None

    def on_progress(self, progress: Progress) -> None:
        self.progress = progress


class WhatIf:
    """See the module. command: of the simulation. clock: monotonic seconds."""

    def __init__(
        self, command: Sequence[str] = python("tidegate.whatif"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command = command
        self._clock = clock
        self._jobs: dict[str, Job] = {}

    def start(self, person: str, request: WhatIfRequest, usage: Usage | None = None) -> Job:
        """Start a simulation. usage: the arrivals, if the request uses them. Raises Refused if too many run.

        Call it in the main thread: the process ends with the thread that starts it.
        """
        self._forget()
        running = [job for job in self._jobs.values() if job.result is None]
        if any(job.person == person for job in running):
            raise Refused(409, "a what-if of yours still runs: wait for it, or end it")
        if len(running) >= MOST_AT_ONCE:
            raise Refused(429, f"{len(running)} what-ifs of others run: try again once one has ended", Retry_After="15")
        job = Job(person, request)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job, request, usage), name=f"what-if {job.id}")
        return job

    def find(self, person: str, id: str) -> Job | None:
        self._forget()
        job = self._jobs.get(id)
        return job if job and job.person == person else None

    def jobs_of(self, person: str) -> list[Job]:
        """Return all of a person's jobs, the newest first."""
        self._forget()
        return sorted((job for job in self._jobs.values() if job.person == person), key=lambda job: job.began)[::-1]

    async def cancel(self, person: str, id: str) -> bool:
        """End a job, or forget its result. Return False if the person has no such job."""
        job = self.find(person, id)
        if job is None:
            return False
        await end(job.task)
        self._jobs.pop(id, None)
        return True

    async def run(self) -> None:
        """Forget old jobs until cancelled; then end running ones."""
        try:
            while True:
                await asyncio.sleep(SWEEP_S)
                self._forget()
        finally:
            await end(*(job.task for job in self._jobs.values()))

    async def _run(self, job: Job, request: WhatIfRequest, usage: Usage | None) -> None:
        result: WhatIfAnswer | Failed = Failed(error="it was ended")
        try:
            result = await simulate(self._command, request, usage, job.on_progress)
        except Exception as e:
            logger("console").error("a what-if failed", exc_info=e)
            result = Failed(error="this failed here: the console's log says why")
        finally:
            job.result, job.ended_at = result, self._clock()

    def _forget(self) -> None:
        """Forget jobs that ended long ago, and the oldest of too many."""
        ended = sorted((job.ended_at, id) for id, job in self._jobs.items() if job.result is not None)
        old = sum(at < self._clock() - RETENTION_S for at, _ in ended)
        for _, id in ended[: max(old, len(ended) - MOST_RESULTS)]:
            del self._jobs[id]
