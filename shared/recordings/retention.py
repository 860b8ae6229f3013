"""Selects the files of a camera to remove: those past their age, and the oldest over the size limit. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

from shared.recordings.policy import EffectivePolicy

GB = 1_000_000_000


class Aged(NamedTuple):
    """A file of a camera. incident: whether an incident is in it, or next to it."""

    key: str
    end: dt.datetime
    size: int
    incident: bool


def files_to_remove(files: Iterable[Aged], policy: EffectivePolicy, now: dt.datetime) -> list[Aged]:
    """Return the files to remove now, the oldest first. Over the size limit, files with incidents are removed last."""
    if policy.hold:
        return []
    row = sorted(files, key=lambda file: (file.end, file.key))
    old = [file for file in row if is_old(file, policy, now)]
    removed = set(old)
    left = [file for file in row if file not in removed]
    over = sum(file.size for file in left) - policy.most_gb * GB if policy.most_gb else 0.0
    for file in sorted(left, key=lambda file: file.incident):
        if over <= 0:
            break
        over -= file.size
        removed.add(file)
    return [file for file in row if file in removed]


def is_old(file: Aged, policy: EffectivePolicy, now: dt.datetime) -> bool:
    """Return whether a file is past its age, whatever the size of the camera's recordings."""
    return now - file.end > dt.timedelta(days=_days(file, policy))


def expires_at(file: Aged, policy: EffectivePolicy) -> dt.datetime | None:
    """Return when a file expires by age; None: never."""
    return None if policy.hold else file.end + dt.timedelta(days=_days(file, policy))


def _days(file: Aged, policy: EffectivePolicy) -> float:
    return max(policy.keep_days, policy.incidents_days) if file.incident else policy.keep_days
