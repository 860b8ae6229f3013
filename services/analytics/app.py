"""The service with its optional part: the second pass over cameras whose frames were deferred."""

from __future__ import annotations

from services.analytics.partitions.sharing import OwnedPartitions
from services.analytics.second_pass.passes import Passes
from services.analytics.second_pass.reading import SecondPassReader
from services.analytics.service import Analytics
from services.analytics.settings import AnalyticsSettings


def attach(service: Analytics, partitions: OwnedPartitions, settings: AnalyticsSettings) -> Analytics:
    """Attach the second pass; return the service. Passes of a checkpoint are ended where the settings turn it off."""
    partitions.extend = Passes
    service.background = SecondPassReader(settings.analytics_second_pass_wait_s)
    return service
