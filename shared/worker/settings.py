"""How a loop is bounded."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MB = 1024 * 1024


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Services fill it from their own variables, such as CV_BATCH_SIZE."""

    batch_size: Annotated[int, Meta(ge=1)]
    batch_wait_s: Annotated[float, Meta(ge=0)] = 0.02
    # Batches on the device at once: more than one where it is a server that batches by itself. Where there are several
    # urgencies, one slot more is kept for the most urgent: long work of the others may have all the rest.
    slots: Annotated[int, Meta(ge=1)] = 1
    threads: Annotated[int, Meta(ge=1)] = 1
    # Most messages in hand, and about how many bytes of them, of each consumer.
    hold: Annotated[int, Meta(ge=1)] = 8
    hold_bytes: int = 64 * MB
    # A batch or a preparation that takes longer means a hang: the process gives back what it has and exits.
    stuck_s: float = 120.0
    # From a message's arrival to its result: what is defended by looking at less of it. 0: all of it is looked at.
    latency_target_s: Annotated[float, Meta(ge=0)] = 0.0
    # How long a drain may take before what is left is handed back.
    grace_s: float = 25.0
    replica: str = "0"
