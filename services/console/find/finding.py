"""Asks the search service for somebody, about the cameras that they may see and no other.

They see all: it is asked about all. Else it is told their cameras, always, and a moment to which others shall be like
must be of one of these. It promises that what it answers depends on these cameras alone, but for how far behind the
index is: that is left out. And whatever comes of another camera is dropped.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence

import msgspec

from services.console.find.searches import Moments, Search, joined, seen
from services.console.people import door
from services.console.people.asker import Asker
from services.console.people.turns import ConcurrencyLimit
from services.console.web.refused import Refused
from shared.bus.client import Connection
from shared.client import find
from shared.contract import names
from shared.contract.search import MAX_CAMERAS, MAX_LIKE_CAMERAS, MAX_VOCABULARY, Found, Query

# Of one person, at once: each has its text or picture encoded.
MOST_AT_ONCE = 4


class Finding:
    """client: the viewer's. keys: of the bucket `cameras`. current: who asked, as they are once there is an answer.
    recorded: whether there may be a recording of a camera's time.
    """

    def __init__(
        self,
        client: Connection,
        keys: Collection[str],
        current: Callable[[Asker], Asker | None],
        recorded: Callable[[str, dt.datetime], bool],
    ) -> None:
        self._client = client
        self._keys = keys
        self._current = current
        self._recorded = recorded
        self._turns = ConcurrencyLimit(MOST_AT_ONCE, "searches")

    async def find(self, asker: Asker, search: Search, *, pictures: bool = True) -> Moments:
        """Raises TidegateError."""
        query = msgspec.structs.replace(search.query(dt.datetime.now(dt.UTC)), picture=pictures)
        if query.like is not None and asker.cameras is not None:
            query = msgspec.structs.replace(query, like_cameras=_bounded(sorted(asker.cameras)))
        answers = await self._ask(asker, query, search.cameras)
        now = self._current(asker)
        if now is None:
            raise Refused(401, "sign in first")
        shown = [m for m in joined([answer.moments for answer in answers], search.k) if now.sees(m.camera)]
        return Moments(
            moments=[seen(moment, kept=moment.kept or self._recorded(moment.camera, moment.time)) for moment in shown],
            model=next((answer.model for answer in answers if answer.model), None),
            pending=max((answer.pending for answer in answers), default=0) if now.cameras is None else None,
            note=next((answer.note for answer in answers if answer.note), None),
        )

    async def labels(self, asker: Asker, cameras: Sequence[str]) -> list[str]:
        """Those that were seen at these cameras; at none: at all that they may see. Raises TidegateError."""
        answers = await self._ask(asker, Query(vocabulary=True), cameras)
        return sorted({label for answer in answers for label in answer.vocabulary or ()})[:MAX_VOCABULARY]

    async def _ask(self, asker: Asker, query: Query, asked: Sequence[str]) -> list[Found]:
        """An answer for each group of as many cameras as one query takes; none for who may see no camera."""
        with self._turns.turn(asker.name):
            return [
                await find.ask(self._client, msgspec.structs.replace(query, cameras=cameras))
                for cameras in self._groups(asker, asked)
            ]

    def _groups(self, asker: Asker, asked: Sequence[str]) -> list[list[str]]:
        """An empty group is all cameras: who does not see all never has one."""
        if asked:
            cameras = door.wanted(asker, dict.fromkeys(asked), self._known())
        elif asker.cameras is None:
            return [[]]
        else:
            cameras = _bounded(sorted(asker.cameras))
        return [cameras[n : n + MAX_CAMERAS] for n in range(0, len(cameras), MAX_CAMERAS)]

    def _known(self) -> set[str]:
        """All cameras, and those that were removed: what they saw is found for some time yet."""
        return {key.removeprefix(names.removed("")) for key in self._keys}


def _bounded(cameras: list[str]) -> list[str]:
    if len(cameras) > MAX_LIKE_CAMERAS:
        raise Refused(400, f"you may see {len(cameras)} cameras, over {MAX_LIKE_CAMERAS}: an admin can let you see all")
    return cameras
