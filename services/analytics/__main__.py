"""`python -m services.analytics`: turn detections into what operators act on.

Read events.detections.* in order, follow objects, and publish tracks, incidents, alerts and counts by each camera's
rules. The process needs only a CPU. Several processes share the cameras by leases.
"""

from __future__ import annotations

from shared.service import process

with process.needing("analytics"):
    from services.analytics.app import run
    from services.analytics.settings import AnalyticsSettings


if __name__ == "__main__":
    process.main("analytics", process.settings("analytics", AnalyticsSettings), run)
