"""Queries the search service for a user, only about cameras that they may see.

A user who sees all cameras queries all. Otherwise each query names their cameras, and the moment of a query by likeness
must be from one of these. The service promises that its answer depends on these cameras alone, except for how far
behind the index is, which is omitted. Moments of other cameras are dropped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import msgspec

from services.console.console import Console
from services.console.find.searches import Moments, Search, found_moment, merge_answers
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.concurrency_limit import ConcurrencyLimit
from services.console.web.refused import Refused
from shared.client import find
from shared.contract import names
from shared.contract.questions.search import MAX_CAMERAS, MAX_LIKE_CAMERAS, MAX_VOCABULARY, Found, Query

# Concurrent searches per person: each encodes its text or picture.
MOST_AT_ONCE = 4
_BUSY = f"{MOST_AT_ONCE} searches of yours are under way: wait until one is answered"


class SearchClient:
    """recorded: whether there may be a recording of a camera at a time."""

    def __init__(self, console: Console, recorded: Callable[[str, dt.datetime], bool]) -> None:
        self._console = console
        self._recorded = recorded
        self._limit = ConcurrencyLimit(MOST_AT_ONCE, _BUSY, 2)

    async def find(self, asker: Asker, search: Search, *, pictures: bool = True) -> Moments:
        """Return the moments that match, of the user's cameras. Raises TidegateError."""
        query = msgspec.structs.replace(search.query(dt.datetime.now(dt.UTC)), picture=pictures)
        if query.like is not None and asker.cameras is not None:
            query = msgspec.structs.replace(query, like_cameras=_bounded(sorted(asker.cameras)))
        answers = await self._ask(asker, query, search.cameras)
        now = self._console.current(asker)
        if now is None:
            raise Refused(401, "sign in first")
        best = merge_answers([answer.moments for answer in answers], search.k)
        return Moments(
            moments=[
                found_moment(moment, has_video=moment.has_video or self._recorded(moment.camera, moment.time))
                for moment in best
                if now.sees(moment.camera)
            ],
            model=next((answer.model for answer in answers if answer.model), None),
            pending=max((answer.pending for answer in answers), default=0) if now.cameras is None else None,
            note=next((answer.note for answer in answers if answer.note), None),
        )

    async def labels(self, asker: Asker, cameras: Sequence[str]) -> list[str]:
        """Return the labels seen at these cameras; none: at all that the user may see. Raises TidegateError."""
        answers = await self._ask(asker, Query(vocabulary=True), cameras)
        return sorted({label for answer in answers for label in answer.vocabulary or ()})[:MAX_VOCABULARY]

    async def _ask(self, asker: Asker, query: Query, requested: Sequence[str]) -> list[Found]:
        """Return an answer for each group of cameras that one query takes; none for a user without cameras."""
        with self._limit.slot(asker.name):
            return [
                await find.ask(self._console.links.viewer, msgspec.structs.replace(query, cameras=cameras))
                for cameras in self._groups(asker, requested)
            ]

    def _groups(self, asker: Asker, requested: Sequence[str]) -> list[list[str]]:
        """Split cameras into groups. An empty group means all cameras: only users who see all get one."""
        if requested:
            cameras = access.select(asker, dict.fromkeys(requested), self._all_cameras())
        elif asker.cameras is None:
            return [[]]
        else:
            cameras = _bounded(sorted(asker.cameras))
        return [cameras[n : n + MAX_CAMERAS] for n in range(0, len(cameras), MAX_CAMERAS)]

    def _all_cameras(self) -> set[str]:
        """Return all cameras, including removed ones: their moments are found for some time yet."""
        return {key.removeprefix(names.removed("")) for key in self._console.cameras.values}


def _bounded(cameras: list[str]) -> list[str]:
    if len(cameras) > MAX_LIKE_CAMERAS:
        raise Refused(400, f"you may see {len(cameras)} cameras, over {MAX_LIKE_CAMERAS}: an admin can let you see all")
    return cameras
