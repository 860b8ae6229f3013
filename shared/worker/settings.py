"""The limits of a loop."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contract.memory import MB


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Services fill it from their own variables, such as CV_BATCH_SIZE."""

    batch_size: Annotated[int, Meta(ge=1)]
    batch_wait_s: Annotated[float, Meta(ge=0)] = 0.02
    # Concurrent batches on the device: several if it is a server that batches by itself. With several urgencies, one
    # more slot is reserved for the most urgent: long work of the others may occupy all the rest.
    slots: Annotated[int, Meta(ge=1)] = 1
    threads: Annotated[int, Meta(ge=1)] = 1
    # Maximum messages in flight, and about how many bytes of them, of each consumer.
    hold: Annotated[int, Meta(ge=1)] = 8
    hold_bytes: int = 64 * MB
    # A batch or a preparation that takes longer is a hang: the process hands back its messages and exits.
    stuck_s: float = 120.0
    # The target from a message's arrival to its result, met by degradation. 0: nothing degrades.
    latency_target_s: Annotated[float, Meta(ge=0)] = 0.0
    # How long a drain may take before the rest is handed back.
    grace_s: float = 25.0
    replica: str = "0"
    # Where the model runs, for heartbeats; empty: not reported.
    device: str = ""
