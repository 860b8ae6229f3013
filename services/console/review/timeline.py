"""Counts of incidents by camera and time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

import msgspec

from services.console.review.index import Entry
from shared.contract.events import Severity

_WORST: dict[Severity, int] = {severity: n for n, severity in enumerate(get_args(Severity))}


class TimelineBucket(msgspec.Struct, kw_only=True):
    """Incidents that began in a part of the time. n: the part, from 0 on. severity: the worst of them."""

    n: int
    count: int = 0
    unreviewed: int = 0
    severity: Severity = "info"


def count_by_camera(
    entries: Iterable[Entry], since: float, until: float, parts: int, reviewed: Callable[[Entry], bool]
) -> dict[str, list[TimelineBucket]]:
    """Return each camera's parts of the time that have incidents. Incidents that began outside it are not counted."""
    found: dict[str, dict[int, TimelineBucket]] = {}
    for entry in entries:
        if since <= entry.start < until:
            n = min(parts - 1, int((entry.start - since) / (until - since) * parts))
            of = found.setdefault(entry.camera, {})
            bucket = of.get(n) or of.setdefault(n, TimelineBucket(n=n))
            bucket.count += 1
            bucket.unreviewed += not reviewed(entry)
            bucket.severity = max(bucket.severity, entry.severity, key=_WORST.__getitem__)
    return {camera: [of[n] for n in sorted(of)] for camera, of in found.items()}
