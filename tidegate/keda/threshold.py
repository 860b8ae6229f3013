"""The `lagThreshold` for a replica's rate and a latency target. Pure.

    t = lag_threshold(rate=12, latency_s=2, max_in_flight=6)
    t.value                  # 18: the value for the ScaledObject
    print(explain(t))        # the same with its terms, as text

The metric M of a `nats-jetstream` trigger counts pending and in-flight messages (pending + ack pending), and the HPA
runs ceil(M / threshold) replicas. By Little's law M = arrivals x time in the system. So n full replicas of rate R
answer their newest message after M / (n R) seconds. Two bounds follow:

- An upper bound by latency. The HPA's tolerance keeps the count until M > 1.1 x threshold x n. So a backlog of that
  size can persist, and takes 1.1 x threshold / R seconds. With a higher threshold, another replica comes too late.
- A lower bound by messages in flight. A replica that keeps up still has up to `max_in_flight` messages that are being
  decoded, batched and answered, and all of them count. A lower threshold takes an even load for a backlog: each new
  replica adds its own messages in flight, and the count rises to the maximum.

Between the two, the lag hardly shows load: M is small whether replicas are busy for 10 % or for 90 % of the time. So a
fleet that keeps up is scaled in until it falls behind. No threshold prevents that. The slow `scaleDown` of the
ScaledObject prevents it partially, and scaling by demand does, as it counts arrivals.
"""

from __future__ import annotations

import math

import msgspec

from services.scaler.demand.parameters import LAG_SHARE
from shared.runtime.errors import SettingError
from tidegate.keda.hpa import TOLERANCE

# The threshold leaves this share of the latency target unused. The HPA's tolerance takes a tenth of the threshold. The
# rest is for a bad hour, as the rate is measured on full batches of intact video.
RESERVE = 1 - LAG_SHARE

# Next to demand the rule is a fallback trigger, which must not act while demand works. Replicas requested by demand
# take a cold start, while arrivals queue up. Demand has missed a backlog that persists after a second cold start.
FALLBACK_COLD_STARTS = 2

# Degradable work is deferred, and nothing else queues up. Request a replica per backlog that one backfills in half of
# the video's retention. With the whole retention, nothing is requested at one and a half times the load; with a
# quarter, a surge that demand has answered retains replicas afterwards (`python -m bench.bench_net`).
FALLBACK_DEFERRED = 0.5


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold and the terms it is made of.

    value: `lagThreshold` of a trigger that scales alone. fallback: that of a fallback trigger next to demand. deferred:
    that of another one, on deferred segments. rate: messages a second of one replica with all its GPUs. retention_s:
    retention of their video. cleared: messages per replica within `latency_s`. in_flight: messages at a replica that
    keeps up. stays_s: time to clear the largest backlog that the HPA tolerates.
    """

    value: int
    fallback: int
    deferred: int
    rate: float
    latency_s: float
    cold_start_s: float
    retention_s: float
    cleared: float
    in_flight: int
    stays_s: float

    @property
    def is_bounded_by_in_flight(self) -> bool:
        """Whether the messages in flight decided the value, rather than the latency."""
        return self.value > math.floor(self.cleared * LAG_SHARE)


def lag_threshold(
    rate: float,
    latency_s: float,
    *,
    max_in_flight: int = 0,
    gpus: int = 1,
    cold_start_s: float = 60.0,
    retention_s: float = 600.0,
) -> Threshold:
    """Return the threshold for replicas of `gpus` workers, each with `rate` messages a second and `max_in_flight`.

    latency_s: from a message's arrival to its result. cold_start_s: from the request for a replica to its first result.
    retention_s: seconds of video that MEDIA retains. Raises SettingError naming the invalid option.
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
    # With one more, the messages in flight alone never request another replica.
    value = max(math.floor(cleared * LAG_SHARE), in_flight + 1)
    return Threshold(
        value=value,
        fallback=max(math.ceil(replica * (latency_s + FALLBACK_COLD_STARTS * cold_start_s)), value),
        deferred=math.ceil(replica * FALLBACK_DEFERRED * retention_s),
        rate=replica,
        latency_s=latency_s,
        cold_start_s=cold_start_s,
        retention_s=retention_s,
        cleared=cleared,
        in_flight=in_flight,
        stays_s=value * (1 + TOLERANCE) / replica,
    )


def explain(t: Threshold) -> str:
    """Return the threshold and its reasons, in a few lines of text."""
    hands = (
        f"the {t.in_flight} that it may hold while it keeps up"
        if t.in_flight
        else "what it holds (--hold says how much)"
    )
    lines = [
        f'lagThreshold: "{t.value}"',
        f"one replica clears {t.rate:g} messages/s, so {t.cleared:g} in {t.latency_s:g} s; "
        f"{RESERVE:.0%} of it is kept in reserve",
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
        f'as the fallback trigger of demand, lagThreshold: "{t.fallback}", '
        f"what it clears in {t.latency_s:g} s and {FALLBACK_COLD_STARTS} cold starts of {t.cold_start_s:g} s"
    )
    lines.append(
        f'as a fallback trigger on deferred segments, lagThreshold: "{t.deferred}", '
        f"what one replica backfills in {FALLBACK_DEFERRED:g} of the {t.retention_s:g} s that MEDIA keeps video"
    )
    return "\n".join(lines)
