"""The request and output of the what-if `python -m tidegate.whatif`. Pure.

Its standard input is one line, a `WhatIfRequest`, and with arrivals from USAGE a `UsageLine` for each message, to the
end. Its standard output is lines of `Progress`, at least every half second, and then one `WhatIfAnswer`, or one
`Failed` and exit code 2.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract.reading.bounds import Name
from shared.runtime.errors import BadMessage

MOST_CSV = 4 * 1024 * 1024
MOST_REPLICAS = 10_000
MOST_POINTS = 600

MadeUp = Literal["days", "bursts", "flash_crowd", "ramp", "outage"]
# Policies compared with a fleet for the peak. The last defers frames while capacity is short.
Policy = Literal["KEDA default", "lag", "demand", "demand, bends"]
POLICIES: tuple[Policy, ...] = ("KEDA default", "lag", "demand", "demand, bends")
BUDGETS = (0.0, 0.005, 0.01, 0.015, 0.02)

Share = Annotated[float, Meta(ge=0, le=1)]


class InForce(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The present scaling of a service, from its scaler. degradable: whether its workers defer frames meanwhile."""

    latency_target_s: Annotated[float, Meta(ge=0.001, le=86_400)]
    cold_start_s: Annotated[float, Meta(ge=0, le=86_400)]
    headroom: Annotated[float, Meta(ge=0, le=100)] = 0.0
    lag_threshold: Annotated[float, Meta(ge=0.001, le=1e9)]
    loss_budget: Share = 0.0
    defer_limit: Share = 1.0
    degradable: bool = msgspec.field(default=False, name="bends")


class WhatIfRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """arrivals: from USAGE, of the last `days`; from `csv`, with the columns t_s,arrivals; or from the synthetic
    `trace`.

    service_rate: messages per second of a busy replica. price: of a replica hour. budgets: of lossBudget. enough:
    fraction of the minutes that has to be served. in_force: is simulated too. None: as measured, or as shipped; for
    max_replicas: twice the need of the peak.
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
    """progress: from 0 to 1, over all steps. doing: the present step."""

    progress: Share
    doing: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """error: a sentence. field: the field of the request at fault, if it is one."""

    error: str
    field: str = ""


class WhatIfRow(msgspec.Struct, frozen=True, kw_only=True):
    """A policy. settings: in words. of_static, of_oracle: its hours as a fraction of theirs.

    minutes_served: fraction of those with arrivals in which 99 % of the results came in time. deferred_share: fraction
    of the frames that were deferred; deferred: messages with deferred frames, and backfilled: those backfilled later.
    never_share: fraction of the frames that no replica analysed.
    scaled_object: the simulated one, for `kubectl apply`; empty for the oracle, which no policy reaches.
    """

    name: str
    settings: str
    gpu_hours_30d: float
    cost_30d: float | None
    of_static: float | None
    of_oracle: float | None = msgspec.field(name="of_bound")
    minutes_served: float
    p99_s: float | None
    deferred_share: float = msgspec.field(name="left_out")
    deferred: int
    backfilled: int
    never_share: float = 0.0
    recommended: bool = False
    scaled_object: str = ""


class WhatIfSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Data for a plot: means over steps of `step_s` each. begins: in RFC 3339, None for a trace without a clock.

    arrivals: messages a second. replicas: of each row, by its name.
    """

    begins: str | None
    step_s: float
    arrivals: list[float]
    replicas: dict[str, list[float]]


class WhatIfSaving(msgspec.Struct, frozen=True, kw_only=True):
    """The recommended row's savings in 30 days over the row `against`; negative if it spends more."""

    against: str
    gpu_hours_30d: float
    cost_30d: float | None


class WhatIfLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The simulated load. rate_measured, cold_measured: whether workers have shown it."""

    service_rate: float
    cold_start_s: float
    latency_target_s: float
    min_replicas: int
    max_replicas: int
    rate_measured: bool
    cold_measured: bool


class WhatIfAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """table: the static fleet first, then the candidates, the policy in force, and the oracle. scaled_object: of the
    recommended row. notes: sentences.
    """

    table: list[WhatIfRow]
    series: WhatIfSeries
    recommended: str
    scaled_object: str
    saved: WhatIfSaving
    load: WhatIfLoad
    notes: list[str]


class _Line(msgspec.Struct, frozen=True):
    """The fields that tell the kinds of output apart."""

    progress: float | None = None
    error: str | None = None


Output = Progress | Failed | WhatIfAnswer


def decode(line: bytes) -> Output:
    """Decode a line of output. Raises BadMessage."""
    try:
        head = msgspec.json.decode(line, type=_Line)
        if head.error is not None:
            return msgspec.json.decode(line, type=Failed)
        if head.progress is not None:
            return msgspec.json.decode(line, type=Progress)
        return msgspec.json.decode(line, type=WhatIfAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"not what a what-if says: {e}") from e
