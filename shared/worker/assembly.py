"""The worker of a service: the loop with all of its extensions."""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client

from shared.runtime import telemetry
from shared.worker.extension import Extension
from shared.worker.extensions.backfill import Backfilling
from shared.worker.extensions.deferral import Deferral
from shared.worker.extensions.effort import Effort
from shared.worker.extensions.quarantine import QuarantineIntake
from shared.worker.extensions.reanalysis import ReanalysisService, Reanalyzing
from shared.worker.extensions.spare import Spare
from shared.worker.extensions.stream_health import StreamHealthReporter
from shared.worker.extensions.usage import UsageMeter
from shared.worker.loop import Loop
from shared.worker.service import P, R, Service
from shared.worker.settings import WorkerSettings
from shared.worker.tuning import Tuning


class Worker(Loop[P, R]):
    """Runs a service over its consumers until it is stopped. One instance per process."""

    def __init__(
        self,
        client: Client,
        service: Service[P, R],
        settings: WorkerSettings,
        health: telemetry.Health,
        *,
        consumers: Sequence[tuple[str, str]],
        backfill: str = "",
        reanalysis: ReanalysisService[P, R] | None = None,
        extensions: Sequence[Extension[P]] = (),
        tuning: Tuning | None = None,
    ) -> None:
        """consumers: (stream, consumer) pairs, the most urgent first. backfill: that of BACKFILL, if it defers work.

        reanalysis: the service, if it analyses recorded video again while it is idle. extensions: the service's own.
        """
        super().__init__(client, service, settings, health, consumers=consumers, tuning=tuning)
        spare = Spare(self)
        backfilling = Backfilling(self, spare, backfill) if backfill else None
        effort = Effort(self, is_backfilled=backfilling is not None)
        attached: list[Extension[P]] = [effort, StreamHealthReporter(self), UsageMeter(self)]
        if backfilling:
            attached += [backfilling, Deferral(self)]
        if reanalysis:
            attached.append(
                Reanalyzing(self, reanalysis, spare, is_free=lambda: not backfilling or backfilling.is_idle)
            )
        self.extend(QuarantineIntake(self), [*attached, *extensions])
