"""A what-if: what is asked of `python -m tidegate.whatif`, and what that says. Pure.

On its standard input comes one line, a `WhatIfRequest`, and with arrivals from USAGE a `UsageLine` for each message, to
the end. On its standard output come lines of `Progress`, at least every half second, and then one `WhatIfAnswer`, or
one `Failed` and exit code 2.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract.bounds import Name
from shared.runtime.errors import BadMessage

MOST_CSV = 4 * 1024 * 1024
MOST_REPLICAS = 10_000
MOST_POINTS = 600

MadeUp = Literal["days", "bursts", "flash_crowd", "ramp", "outage"]
# Ways to scale that are tried beside a fleet for the peak. The last leaves frames out while capacity is short.
Policy = Literal["KEDA default", "lag", "demand", "demand, bends"]
POLICIES: tuple[Policy, ...] = ("KEDA default", "lag", "demand", "demand, bends")
BUDGETS = (0.0, 0.02, 0.06)

Share = Annotated[float, Meta(ge=0, le=1)]


class InForce(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a service is scaled by now, as its scaler says. bends: whether its workers leave frames out meanwhile."""

    latency_target_s: Annotated[float, Meta(ge=0.001, le=86_400)]
    cold_start_s: Annotated[float, Meta(ge=0, le=86_400)]
    headroom: Annotated[float, Meta(ge=0, le=100)] = 0.0
    lag_threshold: Annotated[float, Meta(ge=0.001, le=1e9)]
    defer_budget: Share = 0.0
    backfill_grace_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    bends: bool = False


class WhatIfRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """arrivals: those of USAGE, of the last `days`; of `csv`, with the columns t_s,arrivals; or of the made-up `trace`.

    service_rate: messages that a busy replica does in a second. price: of a replica's hour. budgets: of deferBudget.
    enough: share of the minutes that has to be served. in_force: is simulated too. None: as measured, or as shipped; of
    max_replicas: twice what the peak needs.
    """

    service: Name
    arrivals: Literal["usage", "csv", "made_up"]
    days: Annotated[int, Meta(ge=1, le=100)] = 30
    csv: Annotated[str, Meta(max_length=MOST_CSV)] = ""
    trace: MadeUp = "days"
    service_rate: Annotated[float, Meta(ge=1e-4, le=1e6)] | None = None
    cold_start_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    latency_target_s: Annotated[float, Meta(ge=0.001, le=3600)] | None = None
    price: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    min_replicas: Annotated[int, Meta(ge=0, le=MOST_REPLICAS)] = 0
    max_replicas: Annotated[int, Meta(ge=1, le=MOST_REPLICAS)] | None = None
    budgets: Annotated[tuple[Share, ...], Meta(max_length=5)] = BUDGETS
    policies: Annotated[tuple[Policy, ...], Meta(max_length=8)] = POLICIES
    enough: Share = 0.99
    in_force: InForce | None = None


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """A message of USAGE. stored_at: Unix seconds by the server's clock."""

    subject: Annotated[str, Meta(max_length=256)]
    stored_at: float
    data: bytes


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """progress: from 0 to 1, of what `doing` is a part."""

    progress: Share
    doing: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """error: a sentence. field: which one of the request's it is about, where it is about one."""

    error: str
    field: str = ""


class WhatIfRow(msgspec.Struct, frozen=True, kw_only=True):
    """A way to scale. settings: what was chosen, in words. of_static, of_bound: its hours as a share of theirs.

    minutes_served: share of those with arrivals in which 99 % of the results came in time. left_out: share of the
    frames that was not looked at at first; deferred: messages of which some was, and backfilled: those made good later.
    scaled_object: what was simulated, as `kubectl apply` takes it; empty of the bound, which none reaches.
    """

    name: str
    settings: str
    gpu_hours_30d: float
    cost_30d: float | None
    of_static: float | None
    of_bound: float | None
    minutes_served: float
    p99_s: float | None
    left_out: float
    deferred: int
    backfilled: int
    recommended: bool = False
    scaled_object: str = ""


class WhatIfSeries(msgspec.Struct, frozen=True, kw_only=True):
    """For a plot: means over steps of `step_s` each. begins: in RFC 3339, None of a trace that knows no clock.

    arrivals: messages a second. replicas: of each row, by its name.
    """

    begins: str | None
    step_s: float
    arrivals: list[float]
    replicas: dict[str, list[float]]


class WhatIfSaving(msgspec.Struct, frozen=True, kw_only=True):
    """What the recommended row spends less in 30 days than the row `against`; below 0 where it spends more."""

    against: str
    gpu_hours_30d: float
    cost_30d: float | None


class WhatIfLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What was simulated with. rate_measured, cold_measured: whether workers have shown it."""

    service_rate: float
    cold_start_s: float
    latency_target_s: float
    min_replicas: int
    max_replicas: int
    rate_measured: bool
    cold_measured: bool


class WhatIfAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """table: the static fleet first, then what was tried, what is in force, and the bound. scaled_object: of the row
    that is recommended. notes: sentences.
    """

    table: list[WhatIfRow]
    series: WhatIfSeries
    recommended: str
    scaled_object: str
    saved: WhatIfSaving
    load: WhatIfLoad
    notes: list[str]


class _Line(msgspec.Struct, frozen=True):
    """Whatever is said, for telling what it is."""

    progress: float | None = None
    error: str | None = None


Said = Progress | Failed | WhatIfAnswer


def decode(line: bytes) -> Said:
    """A line that was said. Raises BadMessage."""
    try:
        head = msgspec.json.decode(line, type=_Line)
        if head.error is not None:
            return msgspec.json.decode(line, type=Failed)
        if head.progress is not None:
            return msgspec.json.decode(line, type=Progress)
        return msgspec.json.decode(line, type=WhatIfAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"not what a what-if says: {e}") from e
