"""What `python -m services.embed` reads from the environment."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from shared.contract.names import TOKEN
from shared.runtime.settings import BusSettings
from shared.worker import MB, WorkerSettings


class EmbedSettings(BusSettings, frozen=True, kw_only=True):
    embed_model: Annotated[
        str,
        Meta(description="openvino:efficientnet_lite3, a model of open_clip, hf-hub:<repo>, or a folder of one"),
    ] = "openvino:efficientnet_lite3"
    embed_pretrained: Annotated[
        str, Meta(description="of open_clip: a tag, a file of weights, or random (untrained)")
    ] = ""
    embed_device: Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:<n>")] = "cpu"
    embed_mode: Annotated[
        Literal["all", "queries"], Meta(description="queries: answer queries alone, and take no segments")
    ] = "all"
    embed_fps: Annotated[
        float, Meta(gt=0, le=120, description="frames embedded per second of video; up to 1, keyframes alone")
    ] = 1.0
    embed_crops: Annotated[
        Literal["", "detections"],
        Meta(description="detections: work from events.detections.>, embed the objects too; also for tidegate setup"),
    ] = ""
    embed_max_crops: Annotated[int, Meta(ge=0, le=1000, description="objects of one frame, the best first")] = 16
    embed_min_crop: Annotated[int, Meta(ge=1, description="pixels of an object's longer side, at least")] = 32
    embed_batch_size: Annotated[int, Meta(ge=1, le=1024, description="most images in a batch")] = 8
    embed_batch_wait_ms: Annotated[float, Meta(ge=0, description="most wait for a fuller batch")] = 20.0
    embed_threads: Annotated[int, Meta(ge=1, le=64, description="decoding threads")] = 1
    embed_infer_threads: Annotated[int, Meta(ge=1, le=256, description="threads of the model on a CPU")] = 1
    embed_grace_s: Annotated[float, Meta(gt=0, description="most seconds a drain takes")] = 25.0
    num_gpus: Annotated[int, Meta(ge=1, le=64, description="worker processes, one a GPU")] = 1
    replica: Annotated[str, Meta(pattern=TOKEN, description="name of this replica")] = "embed-0"

    def worker(self) -> WorkerSettings:
        """How the loop is bounded: a segment may give but one image, so a batch on the device and one in the making."""
        hold = max(4, 2 * self.embed_batch_size + self.embed_threads)
        return WorkerSettings(
            batch_size=self.embed_batch_size,
            batch_wait_s=self.embed_batch_wait_ms / 1000,
            threads=self.embed_threads,
            hold=hold,
            # Segments of 4 Mbit/s have 0.5 MB: it is their number that shall bound.
            hold_bytes=hold * MB,
            grace_s=self.embed_grace_s,
            replica=self.replica,
        )
