"""What `svc.scaler.explain.<service>` answers: why a query asks for so many replicas. Pure."""

from __future__ import annotations

import msgspec

Term = float | bool | str | None


class ReplicaSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as it was last heard, `age_s` seconds ago."""

    replica: str
    state: str
    processed: float
    working_s: float
    age_s: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one query asks for so many replicas.

    of: what is counted. terms: the terms of the sum, by name. lines: the same in words. replicas: workers as they were
    last heard, from `replicas_from`. age_s: age of the reading. error: why there is none. asked_s: seconds since it was
    last asked for, 0 while somebody listens: a query of before a change is kept for some minutes.
    """

    service: str
    of: str
    terms: dict[str, Term]
    settings: dict[str, Term]
    lines: list[str] = []
    replicas: list[ReplicaSeen] = []
    replicas_from: str = ""
    age_s: float | None = None
    error: str = ""
    asked_s: float = 0.0


class Explanations(msgspec.Struct, frozen=True, kw_only=True):
    """What one process answers to `svc.scaler.explain.<service>`. services: all that it knows."""

    by: str
    services: list[str]
    found: list[Explanation]
