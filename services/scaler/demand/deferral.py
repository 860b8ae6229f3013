"""How much leaner than its forecast a fleet is planned, learned from how much was left out. Pure.

    deferral = DeferralController(budget=0.02)
    deferral.observe(now, fleet)              # workers that say how many frames they looked at
    deferral.share                            # 0.06: the plan is 6 % leaner

Where work bends, a fleet that is too small for a moment leaves frames out, and no segment waits for long. So the plan
may be leaner until as much is left out as the budget allows. This is an account: every frame that was wanted pays the
budget in, every frame that was left out is taken from it, and what is on it makes the plan leaner. The sum of both is
kept near nothing, whatever the load is like: that is integral control, and the margin of adaptive conformal inference
(Gibbs and Candès, 2021) is learned in the same way. A surge leaves a debt, which is paid before the plan is lean again.
"""

from __future__ import annotations

import math

import msgspec

from services.scaler.demand.observation import Workers

HOUR_S = 3600.0


class DeferralTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Chosen on the traces of docs/explanation/scaling.md, where half or twice as much makes little difference."""

    gain: float = 3.0
    """An hour in which nothing was left out makes the plan leaner by this many budgets. From a plan to the frames that
    it leaves out takes minutes, and the account is slower than that."""

    most: float = 0.2
    """The plan is leaner by at most this share of it, and the debt is at most as large."""

    memory_h: float = 4.0
    """How many frames come in an hour is the mean of so many hours."""


TUNING = DeferralTuning()


class DeferralController:
    """See the module. left_out: share of the frames that were wanted in the last hours."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._account = 0.0
        self._wanted = self._deferred = self._hours = 0.0
        self._last: tuple[float, float, float] | None = None
        self.is_reported = False

    @property
    def share(self) -> float:
        """How much leaner the plan is, 0 to 1."""
        return max(0.0, self._account)

    @property
    def deferred_share(self) -> float:
        """Share of the frames wanted in the last hours that was left out at first."""
        return self._deferred / self._wanted if self._wanted else 0.0

    def observe(self, now: float, fleet: Workers | None, *, is_restart: bool = False) -> None:
        """Take what workers say at `now`, in seconds. anew: as observed. known: whether any says what it looked at."""
        last, self._last = self._last, None
        if fleet is None:
            return
        if fleet.wanted is None or fleet.looked is None:
            self.is_reported = False
            return
        self.is_reported = True
        self._last = (now, fleet.wanted, fleet.looked)
        if last is None or is_restart or now <= last[0]:
            return
        hours = (now - last[0]) / HOUR_S
        wanted = max(0.0, fleet.wanted - last[1])
        deferred = min(wanted, max(0.0, wanted - (fleet.looked - last[2])))
        fade = math.exp(-hours / TUNING.memory_h)
        self._wanted = self._wanted * fade + wanted
        self._deferred = self._deferred * fade + deferred
        self._hours = self._hours * fade + hours
        if wanted:
            paid = TUNING.gain * (self._budget * wanted - deferred) * self._hours / self._wanted
            self._account = min(TUNING.most, max(-TUNING.most, self._account + paid))
