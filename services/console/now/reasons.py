"""The term that decides the number of replicas, and its sentence, from the answers of `tidegate explain`. Pure.

Example:
    reason(explanations)       # of the current ones; None if no scaler explains the service
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from shared.contract.questions.explain import Explanation, Explanations

# Scalers report a query for ten minutes after its settings changed: an old one decides nothing.
CURRENT_S = 60.0

Decides = Literal["arrivals", "backlog", "due", "held", "cameras", "nothing", "unknown"]

# The terms of the sum, and a text that only the term's own sentence contains.
_PARTS: tuple[tuple[Decides, str, str], ...] = (
    ("arrivals", "arrival_replicas", "arrivals call for"),
    ("backlog", "backlog_replicas", "wait or are in work"),
    ("due", "due_replicas", "will soon"),
)
_HELD_MARKER = "are held"
_MOST = 1e9


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """wanted: replicas; None if unknown. decides: the largest term of the sum, or what replaces it. sentence: its own.
    sentences: all, from the arrivals to the result. of: the counted items. by: the kind of scaler. ready, warming:
    replicas; warming includes requested ones that are not there yet; None if not reported. target_s: target latency of
    a message. cold_start_s: start time of a replica. error: why it is unknown.
    """

    wanted: float | None
    decides: Decides
    sentence: str
    sentences: list[str] = []
    of: str = ""
    by: str = ""
    ready: int | None = None
    warming: int | None = None
    target_s: float = 0.0
    cold_start_s: float = 0.0
    error: str = ""


def reason(answers: Iterable[Explanations]) -> Reason | None:
    """Return the reason of the query with the most replicas: KEDA takes the maximum of all queries."""
    found = [_reason(a.by, e) for a in answers for e in a.found if e.asked_s <= CURRENT_S]
    return max(found, key=lambda r: -1.0 if r.wanted is None else r.wanted, default=None)


def _reason(by: str, e: Explanation) -> Reason:
    wanted = None if e.error else _number(e.terms.get("replicas"))
    decides = "unknown" if wanted is None else decisive(e)
    return Reason(
        wanted=wanted,
        decides=decides,
        sentence=_sentence(decides, e),
        sentences=e.lines,
        of=e.of,
        by=by,
        ready=_count(e, "ready"),
        warming=_count(e, "warming"),
        target_s=_number(e.settings.get("latency_target_s")) or 0.0,
        cold_start_s=_number(e.settings.get("cold_start_s")) or 0.0,
        error=e.error,
    )


def decisive(e: Explanation) -> Decides:
    """Return the largest term of the sum; held replicas decide if they exceed the sum."""
    if "cameras" in e.terms:
        return "cameras"
    if not e.terms.get("active", True):
        return "nothing"
    parts = {decides: _number(e.terms.get(term)) or 0.0 for decides, term, _ in _PARTS}
    if (_number(e.terms.get("held_replicas")) or 0.0) > max(0.0, sum(parts.values())):
        return "held"
    largest = max(parts, key=lambda each: parts[each])
    return largest if parts[largest] > 0 else "nothing"


def _sentence(decides: Decides, e: Explanation) -> str:
    if e.error:
        return e.error
    if decides == "cameras":
        return f"{e.terms['cameras']:.0f} {e.of}" if isinstance(e.terms["cameras"], float | int) else e.of
    marker = (
        _HELD_MARKER if decides == "held" else next((marker for name, _, marker in _PARTS if name == decides), None)
    )
    return next((line for line in e.lines if marker and marker in line), e.lines[-1] if e.lines else "")


def _count(e: Explanation, term: str) -> int | None:
    number = None if e.error else _number(e.terms.get(term))
    return None if number is None else int(number)


def _number(value: object) -> float | None:
    """Return a number that a page can draw; None if the value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(float(value), -_MOST), _MOST)
