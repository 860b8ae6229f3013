"""The settings of `python -m services.recorder`, read from the environment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.recordings import opening
from shared.runtime.settings import BusSettings


class RecorderSettings(BusSettings, frozen=True, kw_only=True):
    recorder_store: Annotated[
        str, Meta(min_length=1, description="where recordings are kept: a folder, or s3://…, gs://…, az://…")
    ] = "recordings"
    recorder_key_file: Annotated[
        str,
        Meta(
            description="path of a file of keys that encrypt what is kept: 'tidegate recordings key' makes one; empty: "
            "it is plain"
        ),
    ] = ""
    recorder_free: Annotated[
        float,
        Meta(
            ge=0,
            le=0.9,
            description="share of a folder's disk that stays free for others, such as NATS: the oldest recordings go",
        ),
    ] = 0.1
    recorder_writers: Annotated[
        int, Meta(ge=1, le=64, description="files that are written at once, each a minute of a camera in memory")
    ] = 3
    recorder_maskers: Annotated[
        int, Meta(ge=1, le=64, description="files of cameras with masks that are made at once, with a core for each")
    ] = 1
    recorder_idle_s: Annotated[
        float,
        Meta(ge=5, le=300, description="seconds without video after which what there is of a camera makes a file"),
    ] = 30.0

    recorder_unlisted_cameras: Annotated[
        int,
        Meta(ge=0, le=10_000, description="maximum cameras to record that have neither an entry nor a policy"),
    ] = 256

    def __post_init__(self) -> None:
        """Raises SettingError."""
        opening.check(self.recorder_store, "RECORDER_STORE")
        opening.read_keys(self.recorder_key_file)
