"""The result of a Prometheus query for the GPUs of a simulated service: the sum of their busy shares.

    gpus = Gpus()
    gpus.observe(now, view)        # at gpus.next_at
    gpus.query()                # a number, or NoSeries while no replica runs

The result is a delayed mean: dcgm-exporter collects the busy share of a GPU every 30 s, and Prometheus scrapes it every
15 s. Most assumptions favour scaling by it:

- A GPU is busy while its replica has work in flight, also while a CPU decodes. Work takes as long in a full batch as
  alone, so the share of time is the share of a replica's capacity.
- The share is a mean of the interval, like DCGM_FI_PROF_GR_ENGINE_ACTIVE; DCGM_FI_DEV_GPU_UTIL covers its end alone.
- A pod has its series from the first scrape on, and the exporters of all nodes collect in step.

Sources: dcgm-exporter's `pkg/cmd/app.go` (collect-interval) and the GPU operator's `values.yaml` (serviceMonitor).
"""

from __future__ import annotations

from tidegate.keda.source import Metric, NoSeries
from tidegate.simulation.engine import ScalerView

COLLECT_S = 30.0
SCRAPE_S = 15.0
# The two clocks are not in step: half a period is the mean.
SCRAPE_AFTER_S = SCRAPE_S / 2


class Gpus:
    """The exporters and Prometheus. `now` is in seconds from the trace's start."""

    def __init__(self) -> None:
        self._next_collect = 0.0
        self._next_scrape = SCRAPE_AFTER_S
        self._collected_at = 0.0
        self._busy_s = 0.0
        self._exported = 0.0
        self._scraped: float | None = None

    @property
    def next_at(self) -> float:
        """When an exporter next collects, or Prometheus scrapes."""
        return min(self._next_collect, self._next_scrape)

    def observe(self, now: float, view: ScalerView) -> None:
        """Run the collections and scrapes that are due by `now`."""
        if now >= self._next_collect:
            busy_s = view.working_s + view.backfilling_s
            if now > self._collected_at:
                self._exported = (busy_s - self._busy_s) / (now - self._collected_at)
            self._collected_at, self._busy_s = now, busy_s
            self._next_collect = now + COLLECT_S
        if now >= self._next_scrape:
            self._scraped = self._exported if view.replicas else None
            self._next_scrape = now + SCRAPE_S

    def query(self) -> Metric:
        """Return the sum as in Prometheus."""
        return NoSeries("no pod of the service has a GPU") if self._scraped is None else self._scraped
