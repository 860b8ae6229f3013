"""How large a `lagThreshold` should be, from a replica's rate and the wanted latency. Pure.

    t = lag_threshold(rate=12, latency_s=2, hold=6)
    t.value                  # 18: what goes into the ScaledObject
    print(explain(t))        # the same with its terms, in words

The metric M of a `nats-jetstream` trigger counts messages that wait or are in work (pending + ack pending), and the
HPA runs ceil(M / threshold) replicas. By Little's law M = arrivals x time in the system, so that n replicas of rate R
that are full have their newest message answered after M / (n R) seconds. Two bounds follow:

- From above, by latency. The HPA's tolerance holds the count until M > 1.1 x threshold x n. So a backlog of that size
  can stay for good, and takes 1.1 x threshold / R seconds. With a higher threshold another replica comes too late.
- From below, by what is in hand. A replica that keeps up still holds up to `hold` messages while they are decoded,
  batched and answered, and all of them count. A threshold below that takes an even load for a backlog: each new replica
  fills its own hands, and the count runs up to the maximum.

Between the two, the lag hardly shows load: M is small whether replicas are busy for 10 % or for 90 % of the time. So a
fleet that keeps up is scaled in until it no longer does. No threshold mends that. The slow `scaleDown` of the
ScaledObject does in part, and scaling by demand does, as it counts arrivals.
"""

from __future__ import annotations

import math

import msgspec

from services.scaler.keda.hpa import TOLERANCE
from shared.runtime.errors import SettingError

# The threshold leaves this share of the latency target unused. The HPA's tolerance takes a tenth of the threshold. The
# rest allows for a bad hour, as the rate is measured on full batches of sound video.
AIR = 0.25

# Beside demand the rule is a safety net, which must not act while demand does its work. Replicas that demand has asked
# for take a cold start to come, while arrivals pile up. A backlog that is still there after a second cold start is one
# that demand has not seen.
FALLBACK_COLD_STARTS = 2

# Where work bends, what is left out is put off, and nothing else piles up. A replica for what one makes good in half of
# the time for which the video is kept: a whole one asks for nothing at one and a half times the load, and at a quarter
# a surge that demand has answered holds replicas after it (`python -m bench.bench_net`).
FALLBACK_DEFERRED = 0.5


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold and the terms it is made of.

    value: `lagThreshold` of a trigger that scales alone. net: `lagThreshold` of one beside demand. deferred: of another
    beside that, on what was put off. rate: messages a second that one replica clears with all its GPUs. kept_s: for so
    long their video is kept. cleared: messages that it clears within `latency_s`. in_hand: messages that it holds while
    it keeps up. stays_s: how long the largest backlog takes that the HPA lets be.
    """

    value: int
    net: int
    deferred: int
    rate: float
    latency_s: float
    cold_start_s: float
    kept_s: float
    cleared: float
    in_hand: int
    stays_s: float

    @property
    def is_bounded_by_in_flight(self) -> bool:
        """Whether the messages in hand decided the value, rather than the latency."""
        return self.value > math.floor(self.cleared * (1 - AIR))


def lag_threshold(
    rate: float,
    latency_s: float,
    *,
    max_in_flight: int = 0,
    gpus: int = 1,
    cold_start_s: float = 60.0,
    retention_s: float = 600.0,
) -> Threshold:
    """The threshold for replicas of `gpus` workers, each clearing `rate` messages a second and holding up to `hold`.

    latency_s: from a message's arrival to its result. cold_start_s: from asking for a replica to its first result.
    kept_s: seconds of video that MEDIA keeps. Raises SettingError naming the option that can't be used.
    """
    for option, number in (("--rate", rate), ("--latency", latency_s), ("--kept", retention_s)):
        if not 0 < number < math.inf:
            raise SettingError(f"{option} {number:g} can't be used: give a number over 0")
    if not 0 <= cold_start_s < math.inf:
        raise SettingError(f"--cold-start {cold_start_s:g} can't be used: give seconds, 0 or more")
    if max_in_flight < 0:
        raise SettingError(
            f"--hold {max_in_flight} can't be used: give the most messages that a worker holds, 0 or more"
        )
    if gpus < 1:
        raise SettingError(f"--gpus {gpus} can't be used: give the workers of a replica, 1 or more")
    replica = rate * gpus
    cleared = replica * latency_s
    in_flight = max_in_flight * gpus
    # With one more than is in hand, full hands alone never ask for another replica.
    value = max(math.floor(cleared * (1 - AIR)), in_flight + 1)
    return Threshold(
        value=value,
        net=max(math.ceil(replica * (latency_s + FALLBACK_COLD_STARTS * cold_start_s)), value),
        deferred=math.ceil(replica * FALLBACK_DEFERRED * retention_s),
        rate=replica,
        latency_s=latency_s,
        cold_start_s=cold_start_s,
        kept_s=retention_s,
        cleared=cleared,
        in_hand=in_flight,
        stays_s=value * (1 + TOLERANCE) / replica,
    )


def explain(t: Threshold) -> str:
    """The threshold and its reasons, in a few lines of text."""
    hands = (
        f"the {t.in_hand} that it may hold while it keeps up" if t.in_hand else "what it holds (--hold says how much)"
    )
    lines = [
        f'lagThreshold: "{t.value}"',
        f"one replica clears {t.rate:g} messages/s, so {t.cleared:g} in {t.latency_s:g} s; "
        f"{AIR:.0%} of it is left as air",
        f"and the threshold stays above {hands}",
    ]
    if t.stays_s > t.latency_s:
        lines.append(
            f"too late for the target: the HPA lets a backlog of {t.stays_s:.2g} s be; "
            "hold less (smaller batches, fewer threads) or allow more latency"
        )
    else:
        lines.append(f"with its tolerance, the HPA lets a backlog of up to {t.stays_s:.2g} s be")
    lines.append(
        f'as the safety net beside demand, lagThreshold: "{t.net}", '
        f"what it clears in {t.latency_s:g} s and {FALLBACK_COLD_STARTS} cold starts of {t.cold_start_s:g} s"
    )
    lines.append(
        f'where work bends, on what was put off, lagThreshold: "{t.deferred}", '
        f"what it makes good in {FALLBACK_DEFERRED:g} of the {t.kept_s:g} s for which MEDIA keeps the video"
    )
    return "\n".join(lines)
