"""What `python -m services.analytics` reads from the environment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.analytics.state import Limits
from shared.runtime.settings import BusSettings


class AnalyticsSettings(BusSettings, frozen=True, kw_only=True):
    analytics_reorder_s: Annotated[
        float,
        Meta(ge=0, le=600, description="most wait for a missing segment: over the ack wait, 10"),
    ] = 15.0
    analytics_fps: Annotated[
        float, Meta(gt=0, le=120, description="frames a second that are looked at, at most; the others are filled in")
    ] = 5.0
    analytics_lost_s: Annotated[
        float, Meta(gt=0, le=60, description="for so long an object may be unseen and still be the same")
    ] = 2.0
    analytics_update_s: Annotated[float, Meta(ge=0, le=600, description="between the events of a track")] = 2.0
    analytics_idle_s: Annotated[
        float, Meta(gt=0, le=3600, description="without video for so long, tracks and incidents have ended")
    ] = 30.0
    analytics_verify_s: Annotated[
        float, Meta(gt=0, le=3600, description="without a verdict for so long, an incident is unverified")
    ] = 600.0
    analytics_partitions: Annotated[
        int, Meta(ge=1, le=1024, description="parts that replicas share the cameras by; the same for all of them")
    ] = 32
    analytics_checkpoint_s: Annotated[
        float, Meta(gt=0, le=300, description="between checkpoints; what came since is read again after a crash")
    ] = 10.0
    analytics_since_s: Annotated[
        float, Meta(ge=0, description="where there is no checkpoint: begin with the detections of so long ago")
    ] = 600.0

    def limits(self) -> Limits:
        return Limits(
            reorder_s=self.analytics_reorder_s,
            fps=self.analytics_fps,
            lost_s=self.analytics_lost_s,
            update_s=self.analytics_update_s,
            idle_s=self.analytics_idle_s,
            verify_s=self.analytics_verify_s,
        )
