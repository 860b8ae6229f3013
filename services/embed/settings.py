"""The settings of `python -m services.embed`, read from the environment."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from services.embed import model_spec
from shared.contract.memory import MB
from shared.contract.names import TOKEN
from shared.video.budget import DecodeSettings
from shared.worker import WorkerSettings


class EmbedSettings(DecodeSettings, frozen=True, kw_only=True):
    embed_model: Annotated[
        str,
        Meta(
            description="openvino:efficientnet_lite3, a model of open_clip, hf-hub:<repo>, a folder that holds one, or "
            "a model of an installed package"
        ),
    ] = "openvino:efficientnet_lite3"
    embed_pretrained: Annotated[
        str, Meta(description="weights of an open_clip model: a tag, a file, or random (untrained)")
    ] = ""
    embed_device: Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:<n>")] = "cpu"
    embed_mode: Annotated[
        Literal["all", "queries"], Meta(description="queries answers queries alone, and takes no segments")
    ] = "all"
    embed_fps: Annotated[
        float,
        Meta(
            gt=0,
            le=120,
            description="frames embedded per second of video; up to 1 these are keyframes, which are cheap",
        ),
    ] = 1.0
    embed_fps_floor: Annotated[
        float,
        Meta(ge=1, le=120, description="frames embedded per second of video at least, while capacity is short"),
    ] = 1.0
    embed_latency_target_s: Annotated[
        float,
        Meta(
            ge=0,
            description="seconds from a segment's arrival to its event, defended by embedding fewer frames; 0: never. "
            "Only where its replicas are scaled by demand",
        ),
    ] = 0.0
    embed_crops: Annotated[
        Literal["", "detections"],
        Meta(description="detections embeds the objects that cv finds, too; tidegate setup must have the same"),
    ] = ""
    embed_max_crops: Annotated[
        int, Meta(ge=0, le=1000, description="objects embedded of a frame, at most: those of the best score")
    ] = 16
    embed_min_crop: Annotated[
        int, Meta(ge=1, description="objects whose longer side has fewer pixels are left out")
    ] = 32
    embed_static_scene_refresh_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="maximum seconds between full inferences on a static scene, of the camera's time; 0 disables "
            "the reuse of vectors",
        ),
    ] = 10.0
    embed_batch_size: Annotated[int, Meta(ge=1, le=1024, description="images in a batch, at most")] = 8
    embed_batch_wait_ms: Annotated[float, Meta(ge=0, description="wait for a fuller batch, at most")] = 20.0
    embed_threads: Annotated[int, Meta(ge=1, le=64, description="decoding threads")] = 1
    embed_infer_threads: Annotated[int, Meta(ge=1, le=256, description="threads of the model on a CPU")] = 1
    embed_grace_s: Annotated[float, Meta(gt=0, description="seconds that a drain may take")] = 25.0
    num_gpus: Annotated[int, Meta(ge=1, le=64, description="worker processes, one for each GPU")] = 1
    replica: Annotated[str, Meta(pattern=TOKEN, description="name of this replica")] = "embed-0"

    def check(self) -> None:
        """Check that the model's files and packages are here, and the decoder's device. Raises TidegateError."""
        super().check()
        model_spec.check(self.embed_model, self.embed_pretrained, self.embed_device)

    def worker(self) -> WorkerSettings:
        """The limits of the loop: two batches in flight, on the device and next, of segments with one image each."""
        messages = max(4, 2 * self.embed_batch_size + self.embed_threads)
        return WorkerSettings(
            batch_size=self.embed_batch_size,
            batch_wait_s=self.embed_batch_wait_ms / 1000,
            threads=self.embed_threads,
            hold=messages,
            # A segment of 4 Mbit/s has 0.5 MB, so the limit is their number, not their bytes.
            hold_bytes=messages * MB,
            grace_s=self.embed_grace_s,
            latency_target_s=self.embed_latency_target_s,
            replica=self.replica,
            device=self.embed_device,
        )
