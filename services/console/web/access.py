"""The one access check for cameras: every answer that depends on a camera passes here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from services.console.web.asker import Asker
from services.console.web.refused import Refused
from shared.contract.names import TOKEN


def camera(asker: Asker, id: str, cameras: Collection[str]) -> str:
    """Return `id` if the camera exists and they may see it. Raises Refused, with the same words in both cases."""
    if not re.search(TOKEN, id) or id not in cameras or not asker.sees(id):
        raise Refused(404, f"there is no camera {id[:64]!r}")
    return id


def visible(asker: Asker, cameras: Iterable[str]) -> list[str]:
    """Return the cameras that they may see."""
    return [id for id in cameras if asker.sees(id)]


def select(asker: Asker, ids: Iterable[str] | None, cameras: Collection[str]) -> list[str]:
    """Return the requested cameras, each of which must exist; without ids all that they may see."""
    if not ids:
        return sorted(visible(asker, cameras))
    return [camera(asker, id, cameras) for id in ids]


def everything(asker: Asker, what: str) -> None:
    """Raises Refused if they may not see every camera: `what` covers all of them."""
    if asker.cameras is not None:
        raise Refused(403, f"{what} is of all cameras together, and you may see some of them alone: ask an admin")
