"""The answers on `svc.scaler.explain.<service>`: why a query needs its number of replicas. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Term = float | bool | str | None


class ReplicaSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A replica by its last heartbeat, `age_s` seconds ago."""

    replica: str
    state: str
    processed: float
    working_s: float
    age_s: float


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """Why fewer replicas are ready than the `needed` ones, since `since_s` seconds. remedy: empty for waiting.

    cause: `maximum` is reached, replicas are `starting` or `dying`, or the process that is `scaling` starts no more.
    """

    cause: Literal["maximum", "starting", "dying", "scaling"]
    sentence: str
    needed: int = 0
    remedy: str = ""
    since_s: float = 0.0

    @property
    def words(self) -> str:
        """The sentence and its remedy."""
        return f"{self.sentence}: {self.remedy}" if self.remedy else self.sentence


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one query needs its number of replicas.

    of: the unit of the count. terms: the terms of the sum, by name. lines: the same in words. replicas: workers by
    their last heartbeats, from `replicas_from`. age_s: age of the reading. error: why there is none. asked_s: seconds
    since the last request, 0 while a client listens: a query from before a change stays for some minutes.
    shortage: None if enough replicas are ready.
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
    shortage: Shortage | None = None


class Explanations(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one process on `svc.scaler.explain.<service>`. services: all that it knows."""

    by: str
    services: list[str]
    found: list[Explanation]
