"""The settings of `python -m services.search`, read from the environment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.video.budget import DecodeSettings

DAY_S = 24 * 3600.0
# Three million vectors of 512 numbers fit: 300 bytes each.
CACHE_MB = 1024


class SearchSettings(DecodeSettings, frozen=True, kw_only=True):
    search_index: Annotated[
        str,
        Meta(
            min_length=1, description="folder of the index, or s3://…, gs://…, az://… where it has outgrown one machine"
        ),
    ] = "index"
    search_max_age_s: Annotated[float, Meta(gt=0, description="seconds after which what was seen is forgotten")] = (
        7 * DAY_S
    )
    search_max_bytes: Annotated[
        int, Meta(gt=0, description="most bytes of the index; rows that were added first are dropped first")
    ] = 20 * 1024**3
    search_cache_mb: Annotated[
        int, Meta(ge=1, description="most megabytes of the index that are kept in memory; what queries need should fit")
    ] = CACHE_MB
    search_tidy_s: Annotated[
        float, Meta(gt=0, description="seconds between two tidyings: retention and compaction")
    ] = 60.0
    search_batch_size: Annotated[int, Meta(ge=1, le=1500, description="most events in one write")] = 1000
    search_batch_wait_ms: Annotated[
        float, Meta(ge=0, description="most milliseconds that a write waits to be fuller")
    ] = 500.0
    search_threads: Annotated[int, Meta(ge=1, le=64, description="queries that are answered at once")] = 2
    search_encode_s: Annotated[float, Meta(gt=0, description="most seconds that embed may take to encode a query")] = (
        10.0
    )
