"""What needs attention now, from the state of services and cameras. Pure.

States that end by themselves within moments are omitted: a starting replica, a connecting camera.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from services.console.now.camera_states import CameraNow
from services.console.now.model import Attention, ServiceNow
from shared.runtime.plain import plain
from shared.runtime.problems import Problem

# A page shows at most this many of one kind.
MOST = 100

_WORST = ("server", "process", "expired", "missing", "late", "camera", "lost", "scaler", "unknown")


def attention(
    services: Iterable[ServiceNow],
    cameras: Iterable[CameraNow],
    *,
    connected: bool,
    scaler: bool,
    problems: Iterable[Problem] = (),
) -> list[Attention]:
    """Return the worst first. cameras: those that the asker may see. scaler: whether one answers, or none is needed.
    problems: of the processes on this machine.
    """
    processes = [_of_process(problem) for problem in problems]
    if not connected:
        return [Attention(kind="server", severity="critical"), *processes]
    found = [*processes, *(a for service in services for a in _of_service(service))]
    if not scaler:
        found.append(Attention(kind="scaler", severity="warning"))
    found += [a for camera in cameras for a in _of_camera(camera)][:MOST]
    return sorted(found, key=lambda a: (a.severity != "critical", _WORST.index(a.kind)))


def _of_process(problem: Problem) -> Attention:
    severity: Literal["warning", "critical"] = "critical" if problem.kind == "died" else "warning"
    reason = f"{problem.kind}: {problem.sentence}"
    return Attention(kind="process", severity=severity, service=problem.replica, reason=plain(reason))


def _of_service(s: ServiceNow) -> Iterator[Attention]:
    if s.expired:
        yield Attention(kind="expired", severity="critical", service=s.name, amount=s.expired)
    waits = (s.pending or 0) + (s.in_flight or 0)
    if s.state == "missing" and (s.age_s or 0.0) > s.late_s:
        yield Attention(kind="missing", severity="critical", service=s.name, amount=waits)
    elif s.age_s is not None and s.age_s > s.late_s:
        yield Attention(kind="late", severity="warning", service=s.name, amount=s.age_s)
    if s.error:
        yield Attention(kind="unknown", severity="warning", service=s.name, reason=s.error)


def _of_camera(c: CameraNow) -> Iterator[Attention]:
    if c.state in ("offline", "unreadable"):
        yield Attention(kind="camera", severity="warning", camera=c.id, reason=c.reason)
    if c.lost:
        yield Attention(kind="lost", severity="warning", camera=c.id, amount=c.lost, reason=c.lost_because)
