"""`GET /events`: live events as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from services.console.console import Console, Shared
from services.console.feed.hub import RUNS, FeedEvent, Hub, Missed
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused
from shared.contract import names
from shared.contract.events import KINDS

Page = NamedDependency[Hub]

# Interval of comments: they keep proxies open, and detect closed connections.
BEAT_S = 15.0
# Events of recordings are not streamed.
_KINDS = frozenset(kind.kind for kind in KINDS if not kind.kind.startswith(names.past("")))

Names = Annotated[str, QueryParameter(max_length=20_000, description="names with commas; empty: all")]
Kinds = Annotated[str, QueryParameter(max_length=20_000, description=f"names with commas; empty: all, but for {RUNS}")]


@get("/events", opt=needs("viewer"), media_type="text/event-stream")
async def stream_events(
    asker: User, console: Shared, page: Page, kinds: Kinds = "", cameras: Names = ""
) -> ServerSentEvent:
    """Live events of cameras that you may see. An event `missed` has the numbers that a slow reader did not get.

    The kind `runs` is the progress of a run over recordings, `of` in `GET /runs`.
    """
    wanted = frozenset(filter(None, kinds.split(","))) or _KINDS
    valid = _KINDS | {RUNS}
    if unknown := sorted(wanted - valid):
        raise Refused(400, f"there is no kind of event {unknown[0][:64]!r}: there are {', '.join(sorted(valid))}")
    only = frozenset(filter(None, cameras.split(",")))
    for camera in only:
        access.camera(asker, camera, console.cameras.values)
    return ServerSentEvent(_messages(console, page, asker, wanted, only))


async def _messages(
    console: Console, hub: Hub, asker: Asker, kinds: frozenset[str], only: frozenset[str]
) -> AsyncIterator[ServerSentEventMessage]:
    def wants(event: FeedEvent) -> bool:
        if event.kind not in kinds or (only and only.isdisjoint(event.cameras)):
            return False
        current = console.current(asker)
        return current is not None and all(map(current.sees, event.cameras))

    with hub.listening(wants) as listener:
        yield ServerSentEventMessage(event="ready", data="{}")
        while console.current(asker) is not None:
            item: FeedEvent | Missed | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    item = await anext(listener)
            match item:
                case None:
                    yield ServerSentEventMessage(comment="still here")
                case Missed():
                    yield ServerSentEventMessage(event="missed", data=msgspec.json.encode(item).decode())
                case FeedEvent():
                    yield ServerSentEventMessage(
                        event=item.kind, id=item.id, data=bytes(item.data).decode("utf-8", "replace")
                    )


ROUTES = [stream_events]
