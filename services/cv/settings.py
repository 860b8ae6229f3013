"""The settings of `python -m services.cv`, read from the environment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.cv import model_names, model_spec
from shared.contract.cameras import TILES
from shared.contract.names import TOKEN
from shared.models import devices
from shared.runtime.errors import ModelError
from shared.video.budget import DecodeSettings
from shared.worker import WorkerSettings


class CvSettings(DecodeSettings, frozen=True, kw_only=True):
    cv_model: Annotated[
        str,
        Meta(
            description="openvino:ssd_mobilenet_v2_coco, torchvision:<name>, hf:<repo or path>, a .onnx/.xml file, "
            "triton://<host>:<port>/<model>, or a detector of an installed package"
        ),
    ] = "openvino:ssd_mobilenet_v2_coco"
    cv_models: Annotated[
        str,
        Meta(
            description="further models, as <name>=<value of CV_MODEL> with commas between them; a camera selects one "
            f"by its own model. At most {model_names.MOST}"
        ),
    ] = ""
    cv_model_format: Annotated[
        str,
        Meta(description="family of CV_MODEL's .onnx/.xml file, such as yolox; empty: recognised by the file"),
    ] = ""
    cv_device: Annotated[
        str,
        Meta(
            pattern=devices.PATTERN,
            description="cpu, cuda or cuda:<n>; for a .onnx file also tensorrt or rocm, for a .onnx/.xml file "
            "intel-gpu, each with :<n>, or intel-npu",
        ),
    ] = "cpu"
    cv_runtime: Annotated[
        str,
        Meta(description="runtime of a .onnx/.xml file, openvino or onnxruntime; empty: by the device"),
    ] = ""
    cv_precision: Annotated[
        str,
        Meta(
            description="precision of the embedded detector, or of a .onnx/.xml file: f32, bf16 or f16, where the "
            "device has it; empty: the runtime's choice"
        ),
    ] = ""
    cv_fps: Annotated[float, Meta(gt=0, le=120, description="frames analysed per second of video")] = 5.0
    cv_fps_floor: Annotated[
        float, Meta(gt=0, le=120, description="frames analysed per second of video at least, while capacity is short")
    ] = 1.0
    cv_latency_target_s: Annotated[
        float,
        Meta(
            ge=0,
            description="seconds from a segment's arrival to its event, defended by analysing fewer frames; 0: never. "
            "Only where its replicas are scaled by demand",
        ),
    ] = 0.0
    cv_min_score: Annotated[float, Meta(ge=0, le=1, description="objects below this score are left out")] = 0.4
    cv_tiles: Annotated[
        str,
        Meta(
            pattern=TILES,
            description="<columns>x<rows> of tiles that are looked at besides the whole frame, for small objects",
        ),
    ] = "1x1"
    cv_classes: Annotated[str, Meta(description="labels to report, with commas between them; empty reports all")] = ""
    cv_static_scene_refresh_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="maximum seconds between full inferences on a static scene, of the camera's time; 0 disables "
            "skipping",
        ),
    ] = 10.0
    cv_static_scene_check_s: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="below 1, the analysed frames of a static scene are compared until at most these seconds of "
            "the segment are left; 1 compares one frame a second",
        ),
    ] = 1.0
    cv_batch_size: Annotated[
        int, Meta(ge=1, le=1024, description="images in a batch, at most: frames, and their tiles")
    ] = 8
    cv_batch_wait_ms: Annotated[float, Meta(ge=0, description="wait for a fuller batch, at most")] = 20.0
    cv_threads: Annotated[int, Meta(ge=1, le=64, description="decoding threads")] = 1
    cv_infer_threads: Annotated[int, Meta(ge=1, le=256, description="threads of the model on a CPU")] = 1
    cv_grace_s: Annotated[float, Meta(gt=0, description="seconds that a drain may take")] = 25.0
    num_gpus: Annotated[int, Meta(ge=1, le=64, description="worker processes, one for each GPU")] = 1
    replica: Annotated[str, Meta(pattern=TOKEN, description="name of this replica")] = "cv-0"

    def check(self) -> None:
        """Check that the models' files, packages and device are here, and the decoder's. Raises TidegateError."""
        super().check()
        named = {f"{model_names.SETTING}: {name}": spec for name, spec in self.models().items()}
        for setting, spec in {"CV_MODEL": self.cv_model, **named}.items():
            try:
                model_spec.check(spec, self.cv_device, self.cv_runtime, self.cv_precision)
            except ModelError as e:
                raise ModelError(f"{setting}: {e}") from e
        if self.num_gpus > 1 and self.cv_device.startswith("intel"):
            raise ModelError(
                f"NUM_GPUS={self.num_gpus} is for GPUs of CUDA_VISIBLE_DEVICES, not for CV_DEVICE={self.cv_device}: "
                "start a replica for each intel-gpu:<n>"
            )

    def classes(self) -> frozenset[str] | None:
        """The labels to report, or None for all."""
        return frozenset(c.strip() for c in self.cv_classes.split(",") if c.strip()) or None

    def models(self) -> dict[str, str]:
        """The values of CV_MODEL by the names that cameras select. Raises SettingError."""
        return model_names.parse(self.cv_models)

    def worker(self) -> WorkerSettings:
        """The limits of the loop. It holds enough segments to fill a batch, and leaves the rest to other replicas."""
        return WorkerSettings(
            batch_size=self.cv_batch_size,
            batch_wait_s=self.cv_batch_wait_ms / 1000,
            threads=self.cv_threads,
            hold=max(4, self.cv_batch_size // 2 + self.cv_threads),
            grace_s=self.cv_grace_s,
            latency_target_s=self.cv_latency_target_s,
            replica=self.replica,
            device=self.cv_device,
        )
