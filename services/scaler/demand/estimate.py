"""The policy's result, with every term of the sum, and its explanation for a person. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

# The smallest number above 0 for KEDA, which counts in thousandths.
LEAST = 0.001

HeldFor = Literal["arrivals", "backlog", "new"]
_HELD: dict[HeldFor, str] = {
    "arrivals": "for the arrivals of a while ago: a stopped one costs a cold start to get back",
    "backlog": "for the backlog that they work through",
    "new": "because this scaler has just started, and does not know the load yet",
}


def one_number(replicas: float, active: bool) -> float:
    """Return both as one number, which is above 0 if there is work."""
    return max(replicas, LEAST) if active else 0.0


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas to run, with every term of the sum. Rates are messages a second, backlogs are messages.

    basis: `lag` if no worker with a usable rate is heard. arrival_rate: now. forecast_rate: expected when a replica
    requested now is ready. planned_rate: the planned quantile for that time, with headroom. forecaster: the candidate
    that gave it. service_rate: of one busy replica; `measured` or assumed; 0 under the lag rule without a measurement.
    backlog_expected: the backlog at that time. backlog_allowed: what the latency target permits. backlog_stuck: the
    part that does not drain and is not counted. arrival_replicas, backlog_replicas: the two parts of the sum. expiring:
    deferred segments to backfill by the deadline that needs most; expiry_replicas: the replicas for these, a third part
    of the sum. held_replicas: the replicas that remain whatever the sum; held_for: the rule that decides. ready:
    replicas at work. warming: requested ones that are not ready. degradable: whether the plan may defer frames.
    deferred_share, never_share: of the frames of the last hours, deferred at first, and never analysed. loss_budget,
    defer_limit: the limits of these. over_budget: whether one is exceeded, so that the plan defers none.
    """

    replicas: float
    active: bool
    basis: Literal["demand", "lag"]
    arrival_rate: float = 0.0
    dispersion: float = 0.0
    forecast_rate: float = 0.0
    planned_rate: float = 0.0
    forecaster: str = ""
    service_rate: float = 0.0
    measured: bool = False
    backlog: float = 0.0
    backlog_expected: float = 0.0
    backlog_allowed: float = 0.0
    backlog_stuck: float = 0.0
    drain_s: float = 0.0
    arrival_replicas: float = 0.0
    backlog_replicas: float = 0.0
    held_replicas: float = 0.0
    held_for: HeldFor = "arrivals"
    expiring: float = msgspec.field(default=0.0, name="due")
    expiry_replicas: float = msgspec.field(default=0.0, name="due_replicas")
    ready: int = 0
    warming: int = 0
    deferred_share: float = msgspec.field(default=0.0, name="left_out")
    never_share: float = 0.0
    degradable: bool = False
    over_budget: bool = False
    loss_budget: float = 0.0
    defer_limit: float = 1.0

    def explain(self) -> list[str]:
        """Return sentences for a person, from the arrivals to the requested replicas."""
        if self.basis == "lag":
            lines = [
                "no worker is heard: the lag rule holds",
                f"{self.backlog:.0f} messages wait or are in work: they call for {self.backlog_replicas:.2f} replicas",
            ]
            if self.expiring:
                lines.append(self._expiry_line())
            if self.held_replicas > self.backlog_replicas + self.expiry_replicas:
                lines.append(f"{self.held_replicas:.2f} are held: so many were called for a moment ago")
            return lines
        each = f"{self.service_rate:.2f} a second"
        lines = [
            f"{self.arrival_rate:.2f} messages a second arrive, with a dispersion of {self.dispersion:.1f} "
            "(1 is chance alone); "
            f"{self.forecast_rate:.2f} are expected and {self.planned_rate:.2f} planned for when a replica requested "
            f"now is ready ({self.forecaster})",
            (f"one busy replica does {each}" if self.measured else f"not yet measured, a busy replica may do {each}")
            + f": arrivals call for {self.arrival_replicas:.2f}",
            f"{self.backlog:.0f} messages wait or are in work, {self.backlog_expected:.0f} will then, and the latency "
            f"target allows {self.backlog_allowed:.0f}: {self.backlog_replicas:+.2f}, to be there within "
            f"{self.drain_s:.0f} s",
        ]
        if self.degradable or self.deferred_share:
            lines.append(self._deferral_line())
        if self.expiring:
            lines.append(self._expiry_line())
        if self.backlog_stuck:
            lines.append(f"{self.backlog_stuck:.0f} messages have not drained though there was room: not counted")
        if self.held_replicas > self.arrival_replicas + self.backlog_replicas + self.expiry_replicas:
            lines.append(f"{self.held_replicas:.2f} are held {_HELD[self.held_for]}")
        lines.append(f"{self.replicas:.2f} replicas; {self.ready} are ready and {self.warming} warm up")
        return lines

    def _deferral_line(self) -> str:
        limit = f", and {self.defer_limit:.1%} may be" if self.defer_limit < 1 else ""
        plan = "the plan relies on deferring none"
        if self.degradable and not self.over_budget:
            plan = "the plan is the median, less a part of a replica"
        return (
            f"{self.deferred_share:.1%} of the frames of the last hours were deferred{limit}; "
            f"{self.never_share:.2%} are never analysed, and {self.loss_budget:.1%} may be: {plan}"
        )

    def _expiry_line(self) -> str:
        return (
            f"{self.expiring:.0f} deferred segments will soon lose their video: "
            f"{self.expiry_replicas:+.2f} to backfill them in time"
        )
