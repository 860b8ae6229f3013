"""A run: faults in order, each until the system has recovered; the cost of each, and the totals."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import nats.errors
from rich.console import Console
from rich.table import Column, Table

from shared.runtime.errors import SettingError
from shared.runtime.telemetry import logger
from tidegate.chaos.faults import MOVED_S, Fault, lacking, of_world
from tidegate.chaos.intruder import REFUSED
from tidegate.chaos.ledger import Account
from tidegate.chaos.world import Size, World, world
from tidegate.view.screen import Screen, logs_to

# The time to recover unaided: an election takes up to 10 s on a busy machine, a lease 5 s.
WELL_S = 60.0
COMPLETE_S = 120.0
_POLL_S = 0.1
_VIOLATIONS = 10


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """hours: of faults in an order by `seed`; 0: each fault once. only: faults whose names contain one of these; empty:
    all.

    well_s: the time to recover unaided.
    """

    size: Size = Size()
    hours: float = 0.0
    seed: int = 1
    only: tuple[str, ...] = ()
    well_s: float = WELL_S


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one fault. began, ended: its start, and the recovery, in Unix seconds. may_miss_s: the longest gap in
    a camera's video that it may cause. account: of the video in between; None for a fault of the clock. lost, twice:
    acknowledged segments that are not stored, and results with more than one event, found meanwhile. well_s: from the
    fault's end to the recovery, None if that was late; then ailing lists the problems.
    """

    fault: str
    began: float
    ended: float
    may_miss_s: float
    account: Account | None
    lost: int
    twice: int
    well_s: float | None
    ailing: list[str]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """costs: in order. segments: stored. lost: acknowledged and not stored. without, twice: segments by their number of
    events.

    deferred: events with deferred frames; unrevised, revised_twice: events by their revisions. doubled_s: seconds of
    video that two connections have. incidents: their number; unalerted, alerted_twice: of them. refused, got_in: the
    intruder's refusals, and its successes by subject. violations: forbidden requests of services. finished: whether all
    work was done in the end. skipped_faults: faults that this machine can't have, and why.
    """

    costs: list[Cost]
    segments: int
    acknowledged: int
    lost: int
    without: int
    twice: int
    skipped: int
    repeated: int
    doubled_s: float
    deferred: int
    unrevised: int
    revised_twice: int
    incidents: int
    unalerted: int
    alerted_twice: int
    refused: int
    got_in: list[str]
    violations: list[str]
    finished: bool
    skipped_faults: dict[str, str]

    @property
    def faults(self) -> list[str]:
        """Return the failures, in sentences."""
        wrong = [f"{c.fault}: not well again in time: {'; '.join(c.ailing)}" for c in self.costs if c.well_s is None]
        wrong += [
            f"{c.fault}: {c.account.missing_s:.1f} s of video are missing"
            for c in self.costs
            if c.account and c.account.longest_s > c.may_miss_s
        ]
        counts = {
            "acknowledged segments are lost": self.lost,
            "segments have no event": self.without,
            "segments have more than one event": self.twice,
            "segments are missing within a connection": self.skipped,
            "segments are stored twice": self.repeated,
            "seconds of video are doubled": round(self.doubled_s, 1),
            "events of which less was looked at have no revision": self.unrevised,
            "events have more than one revision": self.revised_twice,
            "incidents have no alert, or alerts no incident": self.unalerted,
            "incidents were told of more than once": self.alerted_twice,
        }
        wrong += [f"{count} {what}" for what, count in counts.items() if count]
        wrong += [f"the intruder got in at {subject}" for subject in self.got_in]
        wrong += [] if self.refused else ["no server was seen to refuse the intruder anything"]
        wrong += [f"a service was refused: {line}" for line in self.violations]
        return wrong if self.finished else [*wrong, f"not all was done after {COMPLETE_S:.0f} s"]


def run(plan: Plan) -> int:
    """Run the plan and print its cost; 0 if nothing is wrong. Otherwise its folder, with all logs, stays."""
    out = Screen()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-chaos-"))
    with logs_to(folder / "logs" / "chaos.log", "chaos"):
        try:
            outcome = asyncio.run(_run_trial(plan, folder, out))
        except (KeyboardInterrupt, asyncio.CancelledError):
            out.print(f"[dim]interrupted: data and logs are kept in {folder}[/]", soft_wrap=True)
            raise KeyboardInterrupt from None
    out.print(table(outcome))
    out.print(
        f"{outcome.segments} segments stored; {outcome.acknowledged} acknowledgements written down, {outcome.lost} "
        f"lost; {outcome.without} without an event, {outcome.twice} with two; of {outcome.deferred} less was "
        f"looked at, {outcome.unrevised} without a revision, {outcome.revised_twice} with two; {outcome.incidents} "
        f"incidents, {outcome.unalerted} without their alert, {outcome.alerted_twice} told twice; an intruder was "
        f"refused {outcome.refused} times, and got in {len(outcome.got_in)}"
    )
    for name, why in outcome.skipped_faults.items():
        out.print(f"[dim]left out: {name}: {why}[/]")
    for wrong in outcome.faults:
        out.print(wrong, style="red")
    if outcome.faults:
        out.print(f"[dim]data and logs are kept in {folder}[/]", soft_wrap=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


async def _run_trial(plan: Plan, folder: Path, out: Console) -> Outcome:
    """Run the trial; SIGTERM ends it as Ctrl-C does: no disk stays mounted, and no process runs."""
    task = asyncio.create_task(trial(plan, folder, out))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def trial(plan: Plan, folder: Path, out: Console) -> Outcome:
    """Break a world of its own in `folder`. Raises SettingError if `only` or the machine excludes every fault."""
    faults = _chosen(plan)
    dice = random.Random(plan.seed)  # noqa: S311 - a repeatable choice
    size = msgspec.structs.replace(plan.size, clock=any(fault.needs == "clock" for fault in faults))
    async with world(size, folder) as broken:
        costs: list[Cost] = []
        left_out = {fault.name: why for fault in faults if (why := lacking(fault, broken))}
        faults = [fault for fault in faults if fault.name not in left_out]
        if not faults:
            raise SettingError(f"this machine can have none of these faults: {'; '.join(set(left_out.values()))}")
        for n, fault in enumerate(_schedule(faults, plan.hours, dice), 1):
            out.print(f"{n:>3} {fault.name}", style="dim")
            logger("chaos").info("fault", number=n, name=fault.name)
            # The draws of one fault do not depend on earlier ones.
            cost = await _cost(fault, broken, random.Random(f"{plan.seed} {n}"), plan.well_s)  # noqa: S311
            may_miss_s = _may_miss_s(fault, size.ingests, costs[-1] if costs else None)
            costs.append(msgspec.structs.replace(cost, may_miss_s=may_miss_s))
            logger("chaos").info("fault is over", **msgspec.structs.asdict(costs[-1]))
            await broken.intruder.got_in(broken.admin)
        complete_to, vanished = await broken.settle(COMPLETE_S), 0
        try:
            vanished = await broken.vanished()
        except (TimeoutError, nats.errors.Error):
            complete_to = None
        ledger = broken.ledger
        done = [seq for seq in ledger.segments if seq <= (complete_to or 0)]
        total = ledger.account(broken.cameras)
        return Outcome(
            costs=[_in_the_end(cost, broken) for cost in costs],
            segments=len(ledger.segments),
            acknowledged=len(broken.acknowledged),
            lost=broken.lost(final=True) + vanished,
            without=sum(1 for seq in done if not ledger.events[seq]),
            twice=ledger.twice,
            skipped=total.skipped,
            repeated=total.repeated,
            doubled_s=total.doubled_s,
            deferred=len(ledger.deferred),
            unrevised=ledger.unrevised,
            revised_twice=ledger.revised_twice,
            incidents=len(ledger.begun),
            unalerted=ledger.unalerted,
            alerted_twice=ledger.repeated_incidents,
            got_in=await broken.intruder.got_in(broken.admin),
            refused=sum(REFUSED in line for line in _refusals(broken)),
            violations=[line for line in _refusals(broken) if REFUSED not in line][:_VIOLATIONS],
            finished=complete_to is not None,
            skipped_faults=left_out,
        )


def _chosen(plan: Plan) -> list[Fault]:
    available = of_world(plan.size.servers)
    for part in plan.only:
        if not any(part in fault.name for fault in available):
            raise SettingError(f"no fault has {part!r} in its name: they are {'; '.join(f.name for f in available)}")
    return [fault for fault in available if not plan.only or any(part in fault.name for part in plan.only)]


def _refusals(broken: World) -> list[str]:
    """Return the servers' log lines of refusals."""
    lines = (line for server in broken.servers for line in server.log.read_text(errors="replace").splitlines())
    return [line for line in lines if "Violation" in line]


def _schedule(faults: list[Fault], hours: float, dice: random.Random) -> Iterator[Fault]:
    if not hours:
        yield from faults
        return
    until = time.monotonic() + hours * 3600
    while time.monotonic() < until:
        yield dice.choice(faults)


def _may_miss_s(fault: Fault, ingests: int, before: Cost | None) -> float:
    if ingests == 1 and fault.frozen_s:  # no other ingest takes its cameras
        return MOVED_S + fault.frozen_s
    if before and before.may_miss_s:  # its cameras still move
        return max(fault.may_miss_s, MOVED_S)
    return fault.may_miss_s


async def _cost(fault: Fault, broken: World, dice: random.Random, within_s: float) -> Cost:
    began, lost, twice = time.time(), broken.lost(), _twice(broken)
    await fault.inflict(broken, dice)
    over = time.time()
    deadline = time.monotonic() + within_s
    while (ailing := broken.ailing(over)) and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
    ended = time.time()
    return Cost(
        fault=fault.name,
        began=began,
        ended=ended,
        may_miss_s=fault.may_miss_s,
        account=broken.ledger.account(broken.cameras, since=began) if fault.needs != "clock" else None,
        lost=broken.lost() - lost,
        twice=_twice(broken) - twice,
        well_s=None if ailing else ended - over,
        ailing=ailing,
    )


def _in_the_end(cost: Cost, broken: World) -> Cost:
    """Account again at the end: an ingest stores present video before its backlog."""
    account = broken.ledger.account(broken.cameras, cost.began, cost.ended)
    return msgspec.structs.replace(cost, account=account if cost.account else None)


def _twice(broken: World) -> int:
    return broken.ledger.twice + broken.ledger.revised_twice + broken.ledger.repeated_incidents


def table(outcome: Outcome) -> Table:
    """Return the worst of each fault."""
    fault = Column("fault", min_width=20)
    found = Table(fault, "n", "missing", "longest", "doubled", "lost", "twice", "well", title="in seconds")
    for name in dict.fromkeys(cost.fault for cost in outcome.costs):
        costs = [cost for cost in outcome.costs if cost.fault == name]
        wells = [cost.well_s for cost in costs]
        accounts = [cost.account for cost in costs if cost.account]
        worst = max(accounts, key=lambda a: a.missing_s, default=None)
        found.add_row(
            name,
            str(len(costs)),
            f"{worst.missing_s:.1f}" if worst else "-",
            f"{worst.longest_s:.1f}" if worst else "-",
            f"{max(a.doubled_s for a in accounts):.1f}" if accounts else "-",
            str(sum(cost.lost for cost in costs)),
            str(sum(cost.twice for cost in costs)),
            "not in time" if None in wells else f"{max(filter(None, wells), default=0.0):.0f}",
        )
    return found
