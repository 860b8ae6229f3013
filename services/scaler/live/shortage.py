"""Why fewer replicas are ready than a service needs: one cause, by evidence. Pure.

    clock.observe(now, needed=4.2, ready=2, loading=0)
    shortage(Situation(...), fleet)         # None if there are enough

A cause is only named if something shows it: a reached maximum, loading replicas, dead ones. What is left is the process
that scales: KEDA and the HPA, or the local autoscaler.
"""

from __future__ import annotations

import math

import msgspec

from shared.contract.questions.explain import Shortage

# The HPA leaves a shortage of this share as it is.
TOLERANCE = 0.1
# KEDA's poll and the HPA's sync.
KEDA_S = 45.0
# A start may take this many cold starts.
LATE = 1.5


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What the local autoscaler alone knows. requested: replicas. maximum_by: who sets the maximum, and maximum_remedy:
    what raises it. reason: of the last decision. failure: the last words of a replica that dies; empty if none does.
    """

    requested: int
    maximum: int
    maximum_by: str
    maximum_remedy: str
    reason: str
    failure: str = ""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """needed: replicas. ready, loading: by heartbeats. lost: replicas that became silent without draining.

    short_s, loading_s: for how long too few are ready, and some load. cold_start_s: as set.
    """

    needed: float
    ready: int
    loading: int
    short_s: float
    loading_s: float
    cold_start_s: float
    lost: tuple[str, ...] = ()

    @property
    def wanted(self) -> int:
        return math.ceil(self.needed)


class ShortageClock:
    """Measures for how long replicas are short. `now` is in seconds of a clock that does not step back."""

    def __init__(self) -> None:
        self._short_since: float | None = None
        self._loading_since: float | None = None

    def observe(self, now: float, *, needed: float, ready: int, loading: int) -> None:
        self._short_since = _since(self._short_since, now, holds=is_short(needed, ready))
        self._loading_since = _since(self._loading_since, now, holds=loading > 0)

    def short_s(self, now: float) -> float:
        return 0.0 if self._short_since is None else now - self._short_since

    def loading_s(self, now: float) -> float:
        return 0.0 if self._loading_since is None else now - self._loading_since


def is_short(needed: float, ready: int) -> bool:
    """Whether the HPA would add a replica."""
    return needed > (1 + TOLERANCE) * ready


def shortage(s: Situation, fleet: Fleet | None = None) -> Shortage | None:
    """Return the one cause, and its remedy; None if enough replicas are ready. fleet: None where KEDA scales."""
    if not is_short(s.needed, s.ready):
        return None
    return _local(s, fleet) if fleet else _in_cluster(s)


def _local(s: Situation, f: Fleet) -> Shortage:
    if f.failure:
        return _shortage(s, "dying", f"workers die as they start: {f.failure}", "correct what it says")
    if f.requested < min(s.wanted, f.maximum):
        return _shortage(s, "scaling", f"the local autoscaler requests {f.requested} of {s.wanted} so far: {f.reason}")
    limit = f"{f.maximum} is the maximum, set by {f.maximum_by}" if s.wanted > f.maximum else ""
    if s.ready < f.requested:
        return _starting(s, f.requested - s.ready, limit, "see logs/*.log in the data folder")
    return _shortage(s, "maximum", f"{s.wanted} are needed, and {limit}", f.maximum_remedy)


def _in_cluster(s: Situation) -> Shortage:
    if s.lost:
        names = ", ".join(s.lost[:3])
        return _shortage(
            s, "dying", f"workers became silent without draining: {names}", "kubectl -n tidegate logs POD --previous"
        )
    if s.loading:
        return _starting(s, s.loading, "", "kubectl -n tidegate describe pods")
    if s.short_s < KEDA_S + LATE * s.cold_start_s:
        return _shortage(
            s,
            "starting",
            f"{s.wanted - s.ready} more are requested for {s.short_s:.0f} s, and not heard yet; KEDA, the HPA and "
            f"coldStart take {KEDA_S + s.cold_start_s:.0f} s",
        )
    return _shortage(
        s,
        "scaling",
        f"KEDA has run no more than {s.ready} for {s.short_s:.0f} s, longer than a start takes: maxReplicaCount is "
        "reached, or no node has room",
        "kubectl -n tidegate get scaledobject,hpa,pods",
    )


def _starting(s: Situation, count: int, limit: str, remedy: str) -> Shortage:
    is_late = s.loading_s > LATE * s.cold_start_s
    late = ", which is late" if is_late else ""
    text = f"{count} {'is' if count == 1 else 'are'} starting, for {s.loading_s:.0f} s of {s.cold_start_s:.0f} s{late}"
    return _shortage(s, "starting", f"{text}; {limit}" if limit else text, remedy if is_late else "")


def _shortage(s: Situation, cause: str, sentence: str, remedy: str = "") -> Shortage:
    return msgspec.convert(
        {
            "cause": cause,
            "sentence": sentence,
            "needed": s.wanted,
            "remedy": remedy,
            "since_s": round(s.short_s, 3),
        },
        Shortage,
    )


def _since(since: float | None, now: float, *, holds: bool) -> float | None:
    return (now if since is None else since) if holds else None
