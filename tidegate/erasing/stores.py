"""The number and bytes of what each store has of a camera, and their erasure."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import msgspec
from nats.aio.client import Client

from shared.bus.direct import Stored
from shared.contract import names
from tidegate.erasing import answers, entries, letters, messages
from tidegate.erasing.answers import Away
from tidegate.erasing.messages import Tell
from tidegate.erasing.scope import Scope
from tidegate.erasing.table import BUCKETS, INDEX, RECORDED, STREAMS, Store, subjects

_STATE = "the present state stays: the range ended over an hour ago"


class Result(NamedTuple):
    """The items of the camera in one store, or those erased there.

    store: its name in the table. since, until: what a wider part shows. remark: what stays, and why. problem: why the
    store is not known to be empty; empty if it is.
    """

    store: str
    number: int = 0
    size: int = 0
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    remark: str = ""
    problem: str = ""

    def plus(self, other: Result) -> Result:
        """Return the sum of this pass and a later one, whose problem counts."""
        return Result(
            self.store,
            self.number + other.number,
            self.size + other.size,
            min((t for t in (self.since, other.since) if t), default=None),
            max((t for t in (self.until, other.until) if t), default=None),
            other.remark or self.remark,
            other.problem,
        )


class Plan(NamedTuple):
    """dry_run: count, and change nothing. despite_hold: erase also held recordings. settings: erase the settings of a
    removed camera. states: erase the present state of services, which may show some of the range. is_first: whether no
    pass was before.
    """

    scope: Scope
    dry_run: bool
    despite_hold: bool
    settings: bool
    states: bool = True
    is_first: bool = True


async def every(client: Client, plan: Plan, tell: Tell, incidents: set[str]) -> list[Result]:
    """Erase, or count, once in every store. Raises BusError, nats.errors.Error or TimeoutError.

    incidents: ids of the camera's incidents in earlier passes; those of this pass are added.
    """
    # Reviews are found by the camera's incidents, which go later.
    found = [await _reviews(client, plan, tell, incidents)]
    # Letters without a payload are known by their messages, which go later.
    found.append(await _letters(client, plan, tell))
    for name, store in STREAMS.items():
        if store.way == "messages":
            found.append(await _messages(client, name, store, plan, tell))
    recorded = await _service(client, RECORDED, plan, tell)
    found += [recorded, await _service(client, INDEX, plan, tell)]
    for name, store in BUCKETS.items():
        # The recorder's entry says that there may be files: it stays until these are gone.
        if store.way == "entries" and store.subjects and not (name == names.RECORDER and recorded.problem):
            found.append(await _entries(client, name, store, plan, tell))
    return found


async def _messages(client: Client, stream: str, store: Store, plan: Plan, tell: Tell) -> Result:
    found = await messages.find(client, stream, subjects(store, plan.scope.camera), plan.scope, tell)
    if not plan.dry_run:
        await messages.delete(client, stream, found, tell)
    return Result(stream, len(found), sum(one.size for one in found))


async def _letters(client: Client, plan: Plan, tell: Tell) -> Result:
    found = await letters.find(client, plan.scope, tell)
    if not plan.dry_run:
        await messages.delete(client, names.DLQ, found, tell)
    return Result(names.DLQ, len(found), sum(one.size for one in found))


class _Incident(msgspec.Struct):
    incident: str = ""


async def _reviews(client: Client, plan: Plan, tell: Tell, incidents: set[str]) -> Result:
    def look(stored: Stored) -> None:
        try:
            incidents.add(msgspec.json.decode(stored.data, type=_Incident).incident)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return

    for stream in (names.ALERTS, names.EVENTS):
        of = [names.event(kind, plan.scope.camera) for kind in names.COPIED]
        await messages.find(client, stream, of, plan.scope, tell, look)
    # An id is compared, and is no pattern: whoever published it must not reach other reviews.
    every = await entries.find(client, names.REVIEWS, [">"], tell)
    found = {seq: one for seq, one in every.items() if entries.incident_of(one[0]) in incidents - {""}}
    return await _erased(client, names.REVIEWS, found, plan, tell)


async def _entries(client: Client, bucket: str, store: Store, plan: Plan, tell: Tell) -> Result:
    if store.settings and not plan.settings:
        return Result(f"KV {bucket}", remark="settings stay: they go with all of a camera that is removed")
    if not plan.scope.is_whole and bucket == names.RECORDER:
        return Result(f"KV {bucket}", remark="the recorder takes the range out of it")
    if not plan.scope.is_whole and not plan.states:
        return Result(f"KV {bucket}", remark=_STATE if plan.is_first else "")
    found = await entries.find(client, bucket, subjects(store, plan.scope.camera), tell)
    return await _erased(client, bucket, found, plan, tell)


async def _erased(client: Client, bucket: str, found: dict[int, tuple[str, int]], plan: Plan, tell: Tell) -> Result:
    remark = ""
    if found and not plan.dry_run:
        remark = await entries.erase(client, bucket, found, tell)
    return Result(f"KV {bucket}", len(found), sum(size for _, size in found.values()), remark=remark)


async def _service(client: Client, store: str, plan: Plan, tell: Tell) -> Result:
    request = plan.scope.request(dry_run=plan.dry_run, despite_hold=plan.despite_hold)
    try:
        answer = await answers.ask(client, store, request, tell)
    except Away as e:
        return Result(store, problem=str(e))
    if answer is None:
        return Result(store, remark="nothing: the service never ran for it")
    return Result(store, answer.count, answer.size, answer.since, answer.until, answer.remark)
