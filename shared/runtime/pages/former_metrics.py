"""Renamed metrics, exported under their former names too, until the next release.

The collector reads the present ones from the registry at each scrape, so both always have equal values.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

# By the former name: the present one. Only counters and gauges.
FORMER = {
    "tidegate_frames_looked_total": "tidegate_frames_analysed_total",
    "tidegate_held": "tidegate_messages_in_flight",
    "tidegate_passed_over_total": "tidegate_unreadable_skipped_total",
    "tidegate_quiet_again_total": "tidegate_static_scene_backfills_total",
    "tidegate_quiet_images_total": "tidegate_static_scene_images_total",
    "tidegate_quiet_refused_total": "tidegate_static_scene_bad_entries_total",
    "tidegate_quiet_segments_total": "tidegate_static_scene_segments_total",
    "tidegate_second_looks_total": "tidegate_reanalysis_segments_total",
    "tidegate_vlm_asked_total": "tidegate_vlm_queries_total",
}


class FormerNames(Collector):
    """See the module."""

    def describe(self) -> Iterable[Metric]:
        return [_empty(former) for former in FORMER]

    def collect(self) -> Iterable[Metric]:
        present = {family.name: family for family in REGISTRY.restricted_registry(FORMER.values()).collect()}
        for former, name in FORMER.items():
            if family := present.get(name.removesuffix("_total")):
                repeated = _empty(former)
                repeated.samples = [sample._replace(name=former) for sample in family.samples]
                yield repeated


def _empty(former: str) -> Metric:
    kind = "counter" if former.endswith("_total") else "gauge"
    return Metric(former.removesuffix("_total"), f"former name of {FORMER[former]}, until the next release", kind)
