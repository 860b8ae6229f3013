"""The one door: whatever depends on a camera passes here on its way to who asks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from services.console.people.asker import Asker
from services.console.web.refused import Refused
from shared.contract.names import TOKEN


def camera(asker: Asker, id: str, known: Collection[str]) -> str:
    """`id`, where there is such a camera and they may see it. Raises Refused, in both cases with the same words."""
    if not re.search(TOKEN, id) or id not in known or not asker.sees(id):
        raise Refused(404, f"there is no camera {id[:64]!r}")
    return id


def seen(asker: Asker, cameras: Iterable[str]) -> list[str]:
    """Those that they may see."""
    return [id for id in cameras if asker.sees(id)]


def wanted(asker: Asker, asked: Iterable[str] | None, known: Collection[str]) -> list[str]:
    """Those that they ask for, each of which must be there; all that they may see where they name none."""
    if not asked:
        return sorted(seen(asker, known))
    return [camera(asker, id, known) for id in asked]


def everything(asker: Asker, what: str) -> None:
    """Raises Refused where they may not see every camera: `what` is of all of them together."""
    if asker.cameras is not None:
        raise Refused(403, f"{what} is of all cameras together, and you may see some of them alone: ask an admin")
