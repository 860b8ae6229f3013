"""ScaledObjects on which the HPA alone acts, or acts without a window."""

from __future__ import annotations

from typing import Any

HOUR = 3600
# Polls far apart: only the HPA acts.
HPA_ONLY: dict[str, Any] = {"minReplicaCount": 1, "pollingInterval": 1_000_000}
AT_ONCE: dict[str, Any] = {"scaleDown": {"stabilizationWindowSeconds": 0}}
FREE = {"scaleDown": {"stabilizationWindowSeconds": 0}}
