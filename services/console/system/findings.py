"""The findings of checks, with remedies, from the state of streams, consumers and cameras. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from services.console.system.states import ConsumerState, StreamState, consumers_of
from shared.contract import names, topology
from shared.contract.events import CameraStatus, VideoStatus
from shared.runtime.plain import plain
from shared.runtime.problems import Problem

Level = Literal["ok", "warn", "bad"]
_SETUP = "tidegate setup"
# A stream that discards its oldest messages, limited by size, is full most of the time.
_NEARLY_FULL, _FULL = 0.8, 0.95
# Work without any delivery for this long is stuck.
SILENT_S = 60.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """found: a sentence. remedy: what to do; None if all is well. camera: if the finding is about one."""

    what: str
    level: Level
    found: str
    remedy: str | None = None
    camera: str | None = None


def ok(what: str, found: str) -> Finding:
    return Finding(what=what, level="ok", found=found)


def warn(what: str, found: str, remedy: str, camera: str | None = None) -> Finding:
    return Finding(what=what, level="warn", found=found, remedy=remedy, camera=camera)


def bad(what: str, found: str, remedy: str, camera: str | None = None) -> Finding:
    return Finding(what=what, level="bad", found=found, remedy=remedy, camera=camera)


def processes(problems: Sequence[Problem]) -> list[Finding]:
    """Report processes that have died or are not ready."""
    found = []
    for problem in problems:
        verb = "died" if problem.kind == "died" else "is not ready"
        judge, remedy = warn, "correct what it says"
        if problem.kind == "died":
            judge, remedy = bad, f"{remedy}; more is in logs/{problem.replica}.log of the data directory"
        found.append(judge(problem.replica, f"It {verb}: {plain(problem.sentence)}", remedy))
    return found


def of_streams(states: Sequence[StreamState], now: dt.datetime) -> list[Finding]:
    """Judge all streams and their consumers."""
    wanted = {str(s.name): s.subjects or [] for s in topology.streams(topology.TopologySettings())}
    found: list[Finding] = []
    for state in states:
        found += stream(state, wanted[state.name])
        found += [f for one in state.consumers if not _is_spare(one.name) for f in consumer(one, now)]
        if state.name == names.DLQ and not state.error:
            found += dead_letters(state)
    return found


def _is_spare(name: str) -> bool:
    """Whether a consumer is for deferred work, which waits for hours on purpose."""
    return any(c.spare for c in consumers_of(names.BACKFILL) if c.name == name)


def stream(state: StreamState, subjects: Collection[str]) -> list[Finding]:
    """Check that a stream exists, with its subjects and with room. subjects: those that it should store."""
    what = f"stream {state.name}"
    if state.is_missing:
        return [bad(what, "It is missing.", _SETUP)]
    if state.error:
        return [bad(what, f"{state.error}.", "see the log of nats-server, and of the console")]
    if missing := sorted(set(subjects) - set(state.subjects)):
        return [bad(what, f"It does not store {', '.join(missing)}.", _SETUP)]
    return [*_room(what, state), *_missing_consumers(state)]


def _room(what: str, state: StreamState) -> list[Finding]:
    share = state.share_full
    if share is None or share < _NEARLY_FULL:
        return [ok(what, f"It holds {state.messages} messages.")]
    found = f"It is {share:.0%} full."
    if state.refuses:
        remedy = "look at what does not take its work: once it is full, it takes no more"
        return [(bad if share >= _FULL else warn)(what, found, remedy)]
    if share < _FULL:
        return [ok(what, found)]
    retained_s = _retained_s(state)
    if retained_s is None or state.max_age_s is None or retained_s > 0.9 * state.max_age_s:
        return [ok(what, found)]
    hours = f"{retained_s / 3600:.1f} of {state.max_age_s / 3600:.1f} hours"
    remedy = f"give the server more disk, and raise {state.name}_MAX_BYTES for 'tidegate setup'"
    return [warn(what, f"It is full, and so keeps {hours}.", remedy)]


def _retained_s(state: StreamState) -> float | None:
    if not state.oldest or not state.newest:
        return None
    return (dt.datetime.fromisoformat(state.newest) - dt.datetime.fromisoformat(state.oldest)).total_seconds()


def _missing_consumers(state: StreamState) -> list[Finding]:
    there = {c.name for c in state.consumers}
    missing = [c.name for c in consumers_of(state.name) if not c.when and c.name not in there]
    return [bad(f"consumer {name}", "It is missing: nobody is given its work.", _SETUP) for name in missing]


def consumer(state: ConsumerState, now: dt.datetime) -> list[Finding]:
    """Check that workers take the waiting messages of a consumer."""
    what = f"consumer {state.name}"
    if not state.pending:
        return [ok(what, "Nothing waits.")]
    if state.max_in_flight and state.in_flight >= state.max_in_flight:
        remedy = "raise MAX_ACK_PENDING for 'tidegate setup': over the replicas times what each holds"
        return [warn(what, f"{state.in_flight} messages are in workers' hands: no more are handed out.", remedy)]
    if state.in_flight or state.waiting_pulls:
        return [ok(what, f"{state.pending} messages wait, and are being taken.")]
    waiting = f"{state.pending} messages wait, and nobody takes them"
    if not state.delivered:
        return [ok(what, f"{waiting}: {state.service} has never run here.")]
    last = dt.datetime.fromisoformat(state.last_delivery) if state.last_delivery else None
    # A restarted server has no time of the last delivery.
    silent_s = (now - last).total_seconds() if last else 0.0
    remedy = f"look at {state.service}: its log, and whether a scaler runs that starts it"
    if silent_s < SILENT_S:
        return [warn(what, f"{waiting} at the moment.", remedy)]
    return [bad(what, f"{waiting}: {state.service} has taken nothing for {silent_s / 60:.0f} min.", remedy)]


def dead_letters(state: StreamState) -> list[Finding]:
    if not state.messages:
        return [ok("dead letters", "There are none.")]
    remedy = "look at why they died; then replay them, or delete them"
    return [warn("dead letters", f"{state.messages} messages could not be processed.", remedy)]


def cameras(
    enabled: Iterable[str],
    statuses: Mapping[str, CameraStatus],
    videos: Mapping[str, VideoStatus],
    now: dt.datetime,
) -> list[Finding]:
    """Return a finding for each camera without readable video. statuses, videos: the last events of each."""
    return [found for id in enabled for found in _camera(id, statuses.get(id), videos.get(id), now)]


def _camera(id: str, status: CameraStatus | None, video: VideoStatus | None, now: dt.datetime) -> list[Finding]:
    what = f"camera {id}"
    if status is None:
        remedy = "see whether ingest runs, and its log"
        return [warn(what, "Nothing was ever heard of it.", remedy, id)]
    if status.state == "offline":
        remedy = "see whether its address and password are right, and the camera is up"
        return [bad(what, f"It delivers no video: {status.reason}.", remedy, id)]
    if video and video.lasts(now):
        return [bad(what, f"Its video can't be read: {video.reason}.", "see what its dead letters say", id)]
    if status.main == "offline":
        remedy = "see whether its address is right, and how many connections the camera allows"
        return [
            warn(what, f"Its main stream, which is recorded, does not arrive: {_of_main(status.reason)}.", remedy, id)
        ]
    return []


def _of_main(reason: str) -> str:
    """Return the part of a camera's reason that is of its main stream; all of it if no part is."""
    return reason.rpartition("its main stream: ")[2]


def bucket(name: str, is_there: bool | None) -> Finding:
    """Check that a bucket exists. is_there: None: unknown."""
    what = f"bucket {name}"
    if is_there is None:
        return bad(what, "Nothing is known of it: JetStream does not answer.", "see the log of nats-server")
    return ok(what, "It is there.") if is_there else bad(what, "It is missing.", _SETUP)
