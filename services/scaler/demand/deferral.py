"""How much leaner than the forecast the fleet is planned, learned from the share of deferred frames. Pure.

Degradable work defers frames while the fleet is briefly too small, and no segment waits for long. So the plan may be
leaner until the deferred share reaches the budget. The controller is an account: each wanted frame pays the budget in,
and each deferred frame is withdrawn. The balance makes the plan leaner. The controller keeps the sum of both near zero
under any load: this is integral control. Adaptive conformal inference (Gibbs and Candès, 2021) learns its margin in the
same way. A surge leaves a debt, which is paid before the plan is lean again.
"""

from __future__ import annotations

import math

from services.scaler.demand.observation import Workers

HOUR_S = 3600.0


# Chosen on the traces of docs/explanation/scaling.md: half or twice the value makes little difference.

# An hour without deferred frames makes the plan leaner by this many budgets. A plan takes minutes to show in the
# deferred frames; the account is slower than that.
GAIN_PER_HOUR = 3.0
# The maximum share by which the plan is leaner, and the maximum debt.
MAX_SHARE = 0.2
# The frames per hour are a mean over this many hours.
MEMORY_H = 4.0


class DeferralController:
    """See the module. is_reported: whether workers report their analysed frames."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._account = 0.0
        self._wanted = self._deferred = self._hours = 0.0
        self._last: tuple[float, float, float] | None = None
        self.is_reported = False

    @property
    def share(self) -> float:
        """The share by which the plan is leaner, 0 to 1."""
        return max(0.0, self._account)

    @property
    def deferred_share(self) -> float:
        """The deferred share of the frames wanted in the last hours."""
        return self._deferred / self._wanted if self._wanted else 0.0

    def observe(self, now: float, fleet: Workers | None, *, is_new_observer: bool = False) -> None:
        """Record the workers' counters at `now`, in seconds. is_new_observer: as in `Observation`."""
        last, self._last = self._last, None
        if fleet is None:
            return
        if fleet.wanted is None or fleet.analysed is None:
            self.is_reported = False
            return
        self.is_reported = True
        self._last = (now, fleet.wanted, fleet.analysed)
        if last is None or is_new_observer or now <= last[0]:
            return
        hours = (now - last[0]) / HOUR_S
        wanted = max(0.0, fleet.wanted - last[1])
        deferred = min(wanted, max(0.0, wanted - (fleet.analysed - last[2])))
        fade = math.exp(-hours / MEMORY_H)
        self._wanted = self._wanted * fade + wanted
        self._deferred = self._deferred * fade + deferred
        self._hours = self._hours * fade + hours
        if wanted:
            paid = GAIN_PER_HOUR * (self._budget * wanted - deferred) * self._hours / self._wanted
            self._account = min(MAX_SHARE, max(-MAX_SHARE, self._account + paid))
