"""From a replica's measured rate to its cameras, its bottleneck, and the numbers for an overlay. Pure.

Example:
    numbers = plan.numbers("cv", rate=312.7, cores=19.4, batch=64, threads=24, hold=56, latency_s=2, cold_start_s=60)
    numbers.rate               # "312": the annotation
    numbers.threshold.value    # 468: lagThreshold
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from shared.contract.topology import TopologySettings
from tidegate.keda.threshold import Threshold, lag_threshold
from tidegate.models.capacity import AHEAD, rounded

# From these shares on, the device's thread, the machine's cores and the GPU count as full.
FULL_DEVICE, FULL_CORES, FULL_GPU = 0.9, 0.85, 0.7
# The share of a run that is excluded at its start, while batches are not full yet.
START = 0.1

Bound = Literal["gpu", "copy", "device thread", "decoding", "cores", "process"]
REASONS: Mapping[Bound, str] = {
    "gpu": "the GPU computes nearly all the time",
    "copy": "copying pictures to the GPU takes over half of each batch",
    "device thread": "the thread that feeds the GPU is busy, and the GPU itself is not: reading results on the CPU",
    "decoding": "the decoding threads do no more: give CV_THREADS or EMBED_THREADS, and cores, if there are any",
    "cores": "all cores of the machine are busy decoding: fewer cameras a GPU, or more cores a GPU",
    "process": "neither the GPU nor the cores are busy: one process of Python does no more; try several on one GPU",
}


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's counters at a time. at_s, cpu_s, busy_s: seconds. polls: of `machine.GpuMonitor`, so far."""

    at_s: float
    done: int
    images: float
    cpu_s: float
    busy_s: float
    memory_mb: float
    polls: int = 0


class Steady(msgspec.Struct, frozen=True, kw_only=True):
    """The rates between two samples. cores: busy ones. busy: the share of time in which the device computed."""

    first: Sample
    last: Sample

    @property
    def seconds(self) -> float:
        return self.last.at_s - self.first.at_s

    @property
    def segments_s(self) -> float:
        return (self.last.done - self.first.done) / self.seconds

    @property
    def images_s(self) -> float:
        return (self.last.images - self.first.images) / self.seconds

    @property
    def cores(self) -> float:
        return (self.last.cpu_s - self.first.cpu_s) / self.seconds

    @property
    def busy(self) -> float:
        return min(1.0, (self.last.busy_s - self.first.busy_s) / self.seconds)


def steady(samples: Sequence[Sample], count: int, hold: int) -> Steady | None:
    """Return the part of a run over `count` segments that has full batches: from START to the last `hold` segments.

    None if no two samples have progress between them.
    """
    working = [s for s in samples if s.done]
    inside = [s for s in working if START * count <= s.done <= count - hold]
    for found in (inside, working):
        if len(found) > 1 and found[-1].done > found[0].done and found[-1].at_s > found[0].at_s:
            return Steady(first=found[0], last=found[-1])
    return None


def bound(
    *,
    busy: float,
    cores: float,
    of_cores: int,
    utilisation: float | None,
    copy_share: float | None,
    decoding_s: float,
    segments_s: float,
) -> Bound:
    """Return the bottleneck of a replica with a backlog.

    busy: of the device's thread. utilisation: of the GPU, None if unknown. copy_share: of a batch's time.
    decoding_s: segments that its threads decode a second without other load.
    """
    if busy >= FULL_DEVICE:
        if (copy_share or 0.0) > 0.5:
            return "copy"
        return "device thread" if utilisation is not None and utilisation < FULL_GPU else "gpu"
    if cores >= FULL_CORES * of_cores:
        return "cores"
    return "decoding" if decoding_s <= AHEAD * segments_s else "process"


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a service for an overlay.

    rate: the annotation, segments per second. hold: maximum segments in flight per replica. cpu: cores to request.
    max_ack_pending: of the consumers, for `replicas`.
    """

    service: str
    rate: str
    threshold: Threshold
    batch: int
    threads: int
    hold: int
    cpu: int
    replicas: int
    max_ack_pending: int


def numbers(
    service: str,
    *,
    rate: float,
    cores: float,
    batch: int,
    threads: int,
    hold: int,
    latency_s: float = 2.0,
    cold_start_s: float = 60.0,
    replicas: int = 8,
) -> Numbers:
    """Return the numbers of a service. rate: segments per second with a backlog. cores: busy ones meanwhile."""
    text = rounded(rate)
    return Numbers(
        service=service,
        rate=text,
        threshold=lag_threshold(float(text), latency_s, max_in_flight=hold, cold_start_s=cold_start_s),
        batch=batch,
        threads=threads,
        hold=hold,
        cpu=max(threads, math.ceil(cores)),
        replicas=replicas,
        max_ack_pending=ack_pending(replicas * hold),
    )


def ack_pending(needed: int) -> int:
    """Return the default, doubled until it is at least `needed`."""
    most = TopologySettings().max_ack_pending
    while most < needed:
        most *= 2
    return most
