"""Applies a site file: one at a time, on after its browser disconnects, recorded in the audit log first."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import msgspec

from services.console.site import answers
from services.console.site.answers import SiteApply
from services.console.site.comparison import Comparison
from services.console.web.refused import Refused
from shared.bus.client import Connection
from shared.contract.reading.mistakes import Mistakes
from shared.contract.segment import rfc3339
from shared.runtime.errors import TidegateError
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from shared.runtime.tasks import end
from shared.site import journal, state
from shared.site.journal import Moved
from shared.site.plan import Change
from shared.site.state import State

_COMPARE_AGAIN = "nothing was changed: compare again"


class Applying:
    """See the module. client: with the rights of an admin. last: the apply that runs, or ran last."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._task: asyncio.Task[SiteApply] | None = None
        self.last = SiteApply()

    async def apply(
        self,
        by: str,
        compare: Callable[[], Awaitable[tuple[State, Comparison]]],
        record: Callable[..., Awaitable[None]],
    ) -> SiteApply:
        """Make the changes of a comparison. record: gets them before the first is made.

        Raises Refused if another apply runs, or the site changed; what `compare` and `record` raise; BusError.
        """
        if self._task is not None and not self._task.done():
            raise Refused(409, f"{self.last.by} applies a site file now, and {_COMPARE_AGAIN} once that has ended")
        self.last = SiteApply(state="runs", by=by, began=rfc3339(dt.datetime.now(dt.UTC)), doing="comparing")
        self._task = asyncio.create_task(self._run(by, compare, record), name="apply a site file")
        # The browser may have left before it fails.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._task)

    async def run(self) -> None:
        """Wait until cancelled; then end the apply. The next one completes it."""
        try:
            await asyncio.Event().wait()
        finally:
            await end(self._task)

    async def _run(
        self,
        by: str,
        compare: Callable[[], Awaitable[tuple[State, Comparison]]],
        record: Callable[..., Awaitable[None]],
    ) -> SiteApply:
        error = "it was ended: the next apply completes it"
        try:
            shown, found = await compare()
            await record(found.plan.changes)
            notes = await self._change(by, shown, found.plan.changes)
            error = ""
        except Mistakes:
            # They may repeat parts of the file, which is its author's alone.
            error = "the file has mistakes"
            raise
        except TidegateError as e:
            error = plain(redact(str(e)))[:2000]
            raise
        except Exception:
            error = "the server did not answer: if changes had begun, the next apply completes them"
            raise
        finally:
            if error:
                self._set(state="failed", error=error, doing="")
        added, changed, removed = answers.counts(found.plan.changes)
        self._set(state="done", doing="", added=added, changed=changed, removed=removed, notes=notes)
        return self.last

    async def _change(self, by: str, shown: State, changes: list[Change]) -> list[str]:
        js = self._client.jetstream()
        writes = [write for change in changes for write in change.writes]
        async with journal.locked(js, f"{by} by the console", self._tell) as lock:
            try:
                journal.check_unmoved(shown, await state.read(js, buckets=state.IN_CONSOLE))
            except Moved as e:
                reason = "; ".join(lock.notes) or "somebody changed the site meanwhile"
                raise Refused(409, f"{reason}; {_COMPARE_AGAIN}") from e
            self._tell(f"preparing {len(writes)} writes")
            await lock.apply(writes, self._tell)
        return [plain(note) for note in lock.notes]

    def _tell(self, doing: str) -> None:
        self._set(doing=plain(doing))

    def _set(self, **fields: object) -> None:
        self.last = msgspec.structs.replace(self.last, **fields)
