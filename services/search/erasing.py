"""Erases a camera's rows on request, so that neither a query nor the files of the index have them afterwards.

LanceDB only marks deleted rows, and keeps old versions and indexes. So a table that had rows of the camera is written
again without them, with new indexes, and all older versions are removed. One table is erased in a request: its answer
asks for another one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from services.search import lost, metrics
from services.search.index import Index
from shared.bus import requests
from shared.contract import names
from shared.contract.questions.erasure import Erased, ErasureRequest
from shared.runtime.errors import Refusal
from shared.runtime.telemetry import logger


class Eraser:
    """See the module. where: the place of the index."""

    def __init__(self, client: Client, index: Index, where: str) -> None:
        self._client = client
        self._index = index
        self._where = where
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="eraser")
        self._subscription: Subscription | None = None
        self._log = logger("search")

    async def start(self) -> None:
        """Answer requests until `stop`."""
        self._subscription = await self._client.subscribe(names.ERASE_INDEX, cb=self._answer)

    async def stop(self) -> None:
        if self._subscription and not self._client.is_closed:
            await self._subscription.unsubscribe()
        self._thread.shutdown(wait=True)

    async def _answer(self, message: Msg) -> None:
        try:
            request = msgspec.json.decode(message.data, type=ErasureRequest)
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self.erase, request)
            await message.respond(msgspec.json.encode(found))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            await requests.refuse(self._client, message, Refusal(400, f"this is no request for an erasure: {e}"))
        except Exception as e:
            self._log.exception("an erasure failed")
            await requests.refuse(self._client, message, Refusal(500, repr(e)))

    def erase(self, request: ErasureRequest) -> Erased:
        """Erase the rows of one table, or count those of all for a dry run."""
        condition = _condition(request)
        tables = self._index.tables
        count, more = 0, False
        with tables.tidying:
            for chunk in tables.all():
                found = chunk.count(condition)
                if not found:
                    continue
                if count and not request.dry_run:
                    more = True
                    break
                count += found
                if request.dry_run:
                    continue
                chunk.erase(condition)
                metrics.DROPPED.labels("erased").inc(found)
                self._log.warning("rows erased on request", camera=request.camera, table=chunk.name, rows=found)
        return Erased(count=count, more=more, remark=self._remark())

    def _remark(self) -> str:
        """Return what an erasure can't judge: tables that were set aside, as they can't be read."""
        aside = Path(self._where) / lost.ASIDE
        if "://" in self._where or not aside.is_dir() or not any(aside.iterdir()):
            return ""
        return f"tables that can't be read may have rows of it: delete the folder {aside}"


def _condition(request: ErasureRequest) -> str:
    """Return the condition in SQL of the rows to erase. A camera's id has no quote."""
    parts = [f"camera = '{request.camera}'"]
    if request.until is not None:
        parts.append(f"start < {round(request.until.timestamp() * 1000)}")
    if request.since is not None:
        parts.append(f"`end` > {round(request.since.timestamp() * 1000)}")
    return " AND ".join(parts)
