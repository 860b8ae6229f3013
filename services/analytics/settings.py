"""Settings of `python -m services.analytics`, from the environment."""

from __future__ import annotations

import math
import os
from typing import Annotated

from msgspec import Meta

from services.analytics.limits import WHOLE, Budget, Limits
from shared.contract.topology import CHECKPOINTS_BYTES
from shared.runtime.settings import BusSettings, load


class AnalyticsSettings(BusSettings, frozen=True, kw_only=True):
    analytics_reorder_s: Annotated[
        float,
        Meta(ge=0, le=600, description="seconds that a missing segment is waited for; more than cv's ack wait, 10"),
    ] = 15.0
    analytics_fps: Annotated[
        float,
        Meta(gt=0, le=120, description="most frames a second that are looked at; tracks are filled in between them"),
    ] = 5.0
    analytics_lost_s: Annotated[
        float, Meta(gt=0, le=60, description="seconds that an object may be unseen and still keep its id")
    ] = 2.0
    analytics_update_s: Annotated[float, Meta(ge=0, le=600, description="seconds between two events of a track")] = 2.0
    analytics_idle_s: Annotated[
        float, Meta(gt=0, le=3600, description="seconds without video after which tracks and incidents end")
    ] = 30.0
    analytics_verify_s: Annotated[
        float, Meta(gt=0, le=3600, description="seconds without a verdict after which an incident is unverified")
    ] = 600.0
    analytics_second_pass_wait_s: Annotated[
        float,
        Meta(
            ge=0,
            le=7200,
            description="maximum seconds to wait for the revisions of deferred frames before the second pass; more "
            "than MEDIA keeps video, 600; 0: no second pass",
        ),
    ] = 900.0
    analytics_partitions: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="parts of the cameras, for replicas to share; each replica needs the same number",
        ),
    ] = 32
    analytics_unlisted_cameras: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="maximum cameras with neither an entry nor rules that are followed, over all partitions",
        ),
    ] = WHOLE.unlisted
    analytics_state_bytes: Annotated[
        int,
        Meta(
            ge=2**20,
            le=CHECKPOINTS_BYTES // 2,
            description="maximum bytes of cameras' states, over all partitions; in memory a state takes five times its "
            "bytes; those of unlisted cameras have a quarter, and are dropped first",
        ),
    ] = WHOLE.state_bytes
    analytics_checkpoint_s: Annotated[
        float,
        Meta(
            gt=0,
            le=300,
            description="seconds between checkpoints; after a crash, what came since the last one is read again",
        ),
    ] = 10.0
    analytics_since_s: Annotated[
        float, Meta(ge=0, description="seconds that are read back where there is no checkpoint")
    ] = 600.0

    def limits(self) -> Limits:
        return Limits(
            reorder_s=self.analytics_reorder_s,
            fps=self.analytics_fps,
            lost_s=self.analytics_lost_s,
            update_s=self.analytics_update_s,
            idle_s=self.analytics_idle_s,
            verify_s=self.analytics_verify_s,
            settle_s=self.analytics_second_pass_wait_s,
        )

    def budget(self) -> Budget:
        """Return each partition's budget."""
        partitions = self.analytics_partitions
        return Budget(
            unlisted=math.ceil(self.analytics_unlisted_cameras / partitions),
            state_bytes=self.analytics_state_bytes // partitions,
            waiting_bytes=WHOLE.waiting_bytes // partitions,
        )


def limits_here() -> Limits:
    """Return the service's limits. Other variables, such as passwords, are ignored. Raises SettingError."""
    return load(AnalyticsSettings, {k: v for k, v in os.environ.items() if k.startswith("ANALYTICS_")}).limits()
