"""Erases a camera in passes, until one finds nothing: workers publish results of what they had in flight.

A pass that finds nothing is also the proof that each store that answers is empty.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Mapping
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError

from shared.client import registry
from shared.contract import catalog, names
from shared.contract.cameras import decode
from shared.contract.reading.entries import entries
from shared.recordings.policies import Policies
from shared.runtime.errors import SettingError
from tidegate.erasing import stores
from tidegate.erasing.messages import Tell
from tidegate.erasing.scope import Scope
from tidegate.erasing.stores import Plan, Result

# A worker publishes its result, or another gets the message, within the ack wait. A model may answer later.
IN_FLIGHT_S = 1.5 * catalog.ACK_WAIT_S
JOBS_IN_FLIGHT_S = 60.0
BETWEEN_S = 2.0
# A camera that still fills after this long is written by something.
MOST_S = 180.0
# The present state of services is at most this old.
STATE = dt.timedelta(hours=1)
_JOBS = (*(stream for stream, _ in names.VLM_WORK), names.BACKFILL)


class Outcome(NamedTuple):
    """results: of each store, all passes together. passes: how many there were."""

    results: Mapping[str, Result]
    passes: int

    @property
    def problems(self) -> list[str]:
        """A sentence for each store that is not known to be empty."""
        return [f"{one.store}: {one.problem}" for one in self.results.values() if one.problem]


async def check(client: Client, scope: Scope, *, remove: bool, despite_hold: bool) -> bool:
    """Check that the erasure may begin; return whether the camera is removed, or will be.

    Raises SettingError with the command that comes first.
    """
    policies = Policies(await entries(client.jetstream(), names.RECORDINGS))
    if policies.of(scope.camera).hold and not despite_hold:
        raise SettingError(
            f"a hold forbids to erase recordings of {scope.camera}: 'tidegate recordings list {scope.camera}' shows "
            "it. --despite-hold erases them all the same; nothing was erased"
        )
    stored = (await entries(client.jetstream(), names.CAMERAS)).get(scope.camera)
    if stored is None or not scope.is_whole:
        return stored is None
    try:
        enabled = decode(stored).enabled
    except SettingError:
        enabled = True
    if enabled and not remove:
        raise SettingError(
            f"camera {scope.camera} is enabled and would fill again: 'tidegate camera disable {scope.camera}' stops "
            "it, --remove removes it first, and --from and --to erase a time range; nothing was erased"
        )
    return remove


async def count(client: Client, plan: Plan, tell: Tell) -> Outcome:
    """Count what there is. Nothing changes."""
    return Outcome({one.store: one for one in await stores.every(client, plan, tell, set())}, 0)


async def erase(client: Client, plan: Plan, tell: Tell, *, in_flight_s: float | None = None) -> Outcome:
    """Erase until nothing is left and nothing comes any more, for at most MOST_S after the first pass.

    in_flight_s: how long results may still come; None: as long as the found jobs can be in flight.

    Raises BusError, nats.errors.Error or TimeoutError: calling it again completes the erasure.
    """
    incidents = set[str]()
    results = {one.store: one for one in await stores.every(client, plan, tell, incidents)}
    passes, began = 1, time.monotonic()
    found, last, wait_s = _found(results), began, _wait_s(results) if in_flight_s is None else in_flight_s
    plan = plan._replace(states=plan.scope.is_whole and plan.states, is_first=False)
    while found or time.monotonic() - last < wait_s:
        if time.monotonic() - began > MOST_S:
            problem = f"it still fills after {MOST_S:.0f} s: stop what writes it, and run this again"
            return Outcome({n: r._replace(problem=problem) if n in found else r for n, r in results.items()}, passes)
        tell(f"waiting for results in flight: {max(0.0, wait_s - time.monotonic() + last):.0f} s")
        await asyncio.sleep(min(BETWEEN_S, wait_s) if not found else 0)
        more = {one.store: one for one in await stores.every(client, plan, tell, incidents)}
        passes += 1
        found = _found(more)
        if found:
            last = time.monotonic()
        results = {name: one.plus(more[name]) if name in more else one for name, one in results.items()}
    return Outcome(results, passes)


def _found(results: Mapping[str, Result]) -> set[str]:
    """Return the stores where something was found, and so was erased just now."""
    return {name for name, one in results.items() if one.number}


def _wait_s(results: Mapping[str, Result]) -> float:
    """Return how long a message may be in flight. Its stream stores it until its acknowledgement."""
    if any(results[stream].number for stream in _JOBS if stream in results):
        return JOBS_IN_FLIGHT_S
    return IN_FLIGHT_S if any(results[s].number for s in (names.MEDIA, names.EVENTS) if s in results) else 0.0


async def remove(client: Client, camera: str) -> None:
    """Remove a camera, if it is there. Raises BusError."""
    try:
        await registry.remove(client.jetstream(), camera)
    except (registry.NoCamera, KeyNotFoundError):
        return
