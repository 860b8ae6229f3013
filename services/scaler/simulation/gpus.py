"""What a query of Prometheus gives for the GPUs of a simulated service: the sum of their busy shares.

    gpus = Gpus()
    gpus.look(now, view)        # at gpus.next_at
    gpus.query()                # a number, or NoSeries while no replica runs

It is late, and a mean: dcgm-exporter collects every 30 s how busy a GPU was since, and Prometheus scrapes that every
15 s. Of what is assumed, most is in favour of scaling by it:

- A GPU is busy for as long as its replica has work in hand, also while a CPU decodes; and work takes as long in a full
  batch as alone, so that the share of time is the share of what a replica can do.
- The share is a mean of the interval, as DCGM_FI_PROF_GR_ENGINE_ACTIVE is; DCGM_FI_DEV_GPU_UTIL tells of its end alone.
- A pod has its series from the first scrape on, and the exporters of all nodes collect in step.

Sources: dcgm-exporter's `pkg/cmd/app.go` (collect-interval) and the GPU operator's `values.yaml` (serviceMonitor).
"""

from __future__ import annotations

from services.scaler.keda.source import Metric, NoSeries
from services.scaler.simulation.engine import ScalerView

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
        """When an exporter collects, or Prometheus scrapes."""
        return min(self._next_collect, self._next_scrape)

    def look(self, now: float, view: ScalerView) -> None:
        """Collect and scrape what is due by `now`."""
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
        """The sum as Prometheus has it."""
        return NoSeries("no pod of the service has a GPU") if self._scraped is None else self._scraped
