"""Attaches what is optional: the second pass."""

from __future__ import annotations

from services.analytics.loop import Analytics
from services.analytics.partitions.sharing import OwnedPartitions
from services.analytics.second_pass.passes import Passes
from services.analytics.second_pass.reading import SecondPassReader
from services.analytics.settings import AnalyticsSettings


def attach(analytics: Analytics, partitions: OwnedPartitions, settings: AnalyticsSettings) -> None:
    """Attach the second pass, also where the settings turn it off: passes of a checkpoint must end."""
    partitions.extend = Passes
    analytics.background = SecondPassReader(settings.analytics_second_pass_wait_s)
