"""A run: faults, one after the other, each until all is well again; what each cost, and whether all adds up."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from shared.runtime.errors import SettingError
from tidegate.chaos.faults import Fault, of_world
from tidegate.chaos.ledger import Account
from tidegate.chaos.world import Size, World, world
from tidegate.view.logs import logs_to
from tidegate.view.screen import Screen

# By then all must be well again, by itself: an election takes up to 10 s on a busy machine, a lease 5 s.
WELL_S = 60.0
SETTLED_S = 120.0
_POLL_S = 0.1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """hours: of faults in an order by `seed`; 0: each fault once. only: faults whose names have this in them.

    well_s: by then all must be well again, by itself.
    """

    size: Size = Size()
    hours: float = 0.0
    seed: int = 1
    only: str = ""
    well_s: float = WELL_S


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one fault cost. well_s: from its end until all was well, None where it was not in time."""

    fault: str
    may_miss: bool
    account: Account
    well_s: float | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """costs: in order. segments: stored. lost: acknowledged and not stored. without, twice: segments by their events.

    doubled_s: seconds of video that two connections have. settled: whether cv has done all.
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
    settled: bool

    @property
    def faults(self) -> list[str]:
        """What must not be, in sentences."""
        wrong = [f"{c.fault}: not well again in time" for c in self.costs if c.well_s is None]
        wrong += [
            f"{c.fault}: {c.account.missing_s:.1f} s of video are missing"
            for c in self.costs
            if c.account.missing_s and not c.may_miss
        ]
        counts = {
            "acknowledged segments are lost": self.lost,
            "segments have no event": self.without,
            "segments have more than one event": self.twice,
            "segments are missing within a connection": self.skipped,
            "segments are stored twice": self.repeated,
            "seconds of video are doubled": round(self.doubled_s, 1),
        }
        wrong += [f"{count} {what}" for what, count in counts.items() if count]
        return wrong if self.settled else [*wrong, f"cv was not done after {SETTLED_S:.0f} s"]


def run(plan: Plan) -> int:
    """Do it and print what it cost; 0 if nothing is wrong. Otherwise its folder, with all logs, is kept."""
    out = Screen()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-chaos-"))
    with logs_to(folder / "logs" / "chaos.log", "chaos"):
        outcome = asyncio.run(trial(plan, folder, out))
    out.print(table(outcome))
    out.print(
        f"{outcome.segments} segments stored; {outcome.acknowledged} acknowledgements written down, {outcome.lost} "
        f"lost; {outcome.without} without an event, {outcome.twice} with two"
    )
    for wrong in outcome.faults:
        out.print(wrong, style="red")
    if outcome.faults:
        out.print(f"[dim]data and logs are kept in {folder}[/]", soft_wrap=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


async def trial(plan: Plan, folder: Path, out: Console) -> Outcome:
    """Break a world of its own in `folder`. Raises SettingError where `only` is in the name of no fault."""
    faults = [fault for fault in of_world(plan.size.servers) if plan.only in fault.name]
    if not faults:
        names = "; ".join(fault.name for fault in of_world(plan.size.servers))
        raise SettingError(f"no fault has {plan.only!r} in its name: they are {names}")
    dice = random.Random(plan.seed)  # noqa: S311 - a repeatable choice
    async with world(plan.size, folder) as broken:
        costs = []
        for n, fault in enumerate(_schedule(faults, plan.hours, dice), 1):
            out.print(f"{n:>3} {fault.name}", style="dim")
            costs.append(await _cost(fault, broken, dice, plan.well_s))
        settled = await broken.settle(SETTLED_S)
        ledger = broken.ledger
        done = [seq for seq in ledger.segments if seq <= (settled or 0)]
        total = ledger.account(broken.cameras)
        return Outcome(
            costs=costs,
            segments=len(ledger.segments),
            acknowledged=len(broken.acknowledged),
            lost=broken.lost(),
            without=sum(1 for seq in done if not ledger.events[seq]),
            twice=sum(1 for n in ledger.events.values() if n > 1),
            skipped=total.skipped,
            repeated=total.repeated,
            doubled_s=total.doubled_s,
            settled=settled is not None,
        )


def _schedule(faults: list[Fault], hours: float, dice: random.Random) -> Iterator[Fault]:
    if not hours:
        yield from faults
        return
    until = time.monotonic() + hours * 3600
    while time.monotonic() < until:
        yield dice.choice(faults)


async def _cost(fault: Fault, broken: World, dice: random.Random, within_s: float) -> Cost:
    began = time.time()
    await fault.inflict(broken, dice)
    over = time.time()
    deadline = time.monotonic() + within_s
    well_s = None
    while time.monotonic() < deadline:
        if await broken.is_well(over):
            well_s = time.time() - over
            break
        await asyncio.sleep(_POLL_S)
    return Cost(
        fault=fault.name,
        may_miss=fault.missing,
        account=broken.ledger.account(broken.cameras, since=began),
        well_s=well_s,
    )


def table(outcome: Outcome) -> Table:
    """The worst of each fault."""
    found = Table("fault", "times", "missing", "longest", "doubled", "well after", title="in seconds")
    for name in dict.fromkeys(cost.fault for cost in outcome.costs):
        costs = [cost for cost in outcome.costs if cost.fault == name]
        wells = [cost.well_s for cost in costs]
        worst = max((cost.account for cost in costs), key=lambda a: a.missing_s)
        found.add_row(
            name,
            str(len(costs)),
            f"{worst.missing_s:.1f}",
            f"{worst.longest_s:.1f}",
            f"{max(cost.account.doubled_s for cost in costs):.1f}",
            "not in time" if None in wells else f"{max(filter(None, wells), default=0.0):.0f}",
        )
    return found
