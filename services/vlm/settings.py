"""The settings of `python -m services.vlm`, read from the environment."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from services.vlm import address
from shared.contract import catalog
from shared.contract.cameras import LONGEST_CAPTION_S as LONGEST_S
from shared.contract.cameras import SHORTEST_CAPTION_S as SHORTEST_S
from shared.contract.names import TOKEN
from shared.runtime import install
from shared.runtime.errors import SettingError
from shared.runtime.redact import redact
from shared.video.budget import DecodeSettings
from shared.worker import WorkerSettings


class VlmSettings(DecodeSettings, frozen=True, kw_only=True):
    vlm_mode: Annotated[
        Literal["worker", "front"],
        Meta(description="worker: does the jobs of VLM; front: answers svc.ask and plans captions, without a model"),
    ] = "worker"
    vlm_url: Annotated[
        str,
        Meta(
            description="an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1, or one of SageMaker, "
            "sagemaker://NAME; empty: starts vLLM"
        ),
    ] = ""
    vlm_model: Annotated[
        str, Meta(description="its model: a hub name such as Qwen/Qwen3-VL-2B-Instruct, or a folder, for vLLM")
    ] = ""
    vlm_key: Annotated[
        str, Meta(description="the endpoint's key; VLM_KEY_FILE names a file that is read for each request")
    ] = ""
    vlm_python: Annotated[str, Meta(description="the Python that has vLLM; empty: this one")] = ""
    vllm_args: Annotated[str, Meta(description="more arguments for vLLM, such as --quantization fp8")] = ""
    vlm_batch_size: Annotated[int, Meta(ge=1, le=1024, description="jobs in flight; vLLM batches them by itself")] = 8
    vlm_frames: Annotated[int, Meta(ge=1, le=256, description="frames that a job shows the model")] = 8
    vlm_frames_floor: Annotated[
        int, Meta(ge=1, le=256, description="frames that a caption shows the model at least, while capacity is short")
    ] = 2
    vlm_latency_target_s: Annotated[
        float,
        Meta(
            ge=0,
            description="seconds from a caption's job to its event, defended by showing fewer frames; 0: never. "
            "Only where its replicas are scaled by demand",
        ),
    ] = 0.0
    vlm_static_scene_refresh_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="maximum seconds between the model's captions of a static scene, of the camera's time; 0 "
            "disables the reuse of captions",
        ),
    ] = 300.0
    vlm_size: Annotated[int, Meta(ge=32, le=4096, description="most pixels of a frame's longer side")] = 640
    vlm_media: Annotated[
        Literal["images", "video"], Meta(description="frames as images, or as one video where the model takes it")
    ] = "images"
    vlm_max_tokens: Annotated[int, Meta(ge=16, le=100_000, description="most tokens of one answer")] = 512
    vlm_context: Annotated[
        int,
        Meta(
            ge=1024,
            description="most tokens of question and answer, where the endpoint does not say; vLLM is started with it",
        ),
    ] = 16384
    vlm_temperature: Annotated[float, Meta(ge=0, le=2, description="0 gives the likeliest answer, always the same")] = (
        0.0
    )
    vlm_timeout_s: Annotated[float, Meta(gt=0, description="most seconds that one request takes")] = 120.0
    vlm_outage_timeout_s: Annotated[
        float, Meta(gt=0, description="maximum seconds of an outage of the endpoint; then jobs in flight go back")
    ] = 15.0
    vlm_start_timeout_s: Annotated[
        float,
        Meta(gt=0, description="the same for an endpoint that starts, or scales from zero"),
    ] = 900.0
    vlm_threads: Annotated[int, Meta(ge=1, le=64, description="threads that decode video")] = 2
    vlm_grace_s: Annotated[float, Meta(gt=0, description="most seconds that a drain takes")] = 120.0
    vlm_caption_every_s: Annotated[
        float, Meta(ge=0, le=3600, description="front: seconds between a camera's captions; 0: none")
    ] = 0.0
    vlm_caption_chunk_s: Annotated[
        float, Meta(ge=0, le=3600, description="front: seconds of video that a caption covers; 0: all since the last")
    ] = 0.0
    vlm_caption_overlap_s: Annotated[
        float, Meta(ge=0, le=600, description="front: seconds of video that a caption covers before those")
    ] = 0.0
    vlm_caption_prompt: Annotated[
        str,
        Meta(max_length=4000, description="front: what a caption is asked for; a camera may have a prompt of its own"),
    ] = ""
    num_gpus: Annotated[int, Meta(ge=1, le=64, description="GPUs of the vLLM that is started here")] = 1
    vlm_gpus_as: Annotated[
        Literal["tensor", "replicas"], Meta(description="one vLLM over all GPUs, or a worker and its vLLM on each")
    ] = "tensor"
    replica: Annotated[str, Meta(pattern=TOKEN, description="name of this replica")] = "vlm-0"

    def __post_init__(self) -> None:
        """Check what types can't express. Raises SettingError."""
        self._check_captions()
        if self.vlm_url:
            self._check_url()
        elif self.vlm_mode == "worker" and not self.vlm_model:
            raise SettingError(
                "neither VLM_URL nor VLM_MODEL is set: give the URL of an OpenAI-compatible endpoint, "
                "or the model that vLLM is to be started with"
            )
        try:
            shlex.split(self.vllm_args)
        except ValueError as e:
            raise SettingError(f"VLLM_ARGS={self.vllm_args!r} can't be split into arguments: {e}") from e

    def _check_url(self) -> None:
        if "@" in self.vlm_url:
            raise SettingError("VLM_URL holds credentials: give the key as VLM_KEY or VLM_KEY_FILE")
        if self.vlm_url.startswith(f"{address.SCHEME}://"):
            address.sagemaker(self.vlm_url)
            if self.vlm_mode == "worker" and catalog.missing(["sagemaker"]):
                raise SettingError(
                    f"VLM_URL names an endpoint of SageMaker, which needs botocore: {install.command('sagemaker')}"
                )
            return
        try:
            parts = urlsplit(self.vlm_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise SettingError(f"VLM_URL={redact(self.vlm_url)!r} is no URL: give one such as http://127.0.0.1:8000/v1")

    def _check_captions(self) -> None:
        if 0 < self.vlm_caption_every_s < SHORTEST_S:
            raise SettingError(f"VLM_CAPTION_EVERY_S={self.vlm_caption_every_s:g}: give {SHORTEST_S:g} s or more, or 0")
        covered = (self.vlm_caption_chunk_s or self.vlm_caption_every_s) + self.vlm_caption_overlap_s
        if self.vlm_caption_every_s and covered > LONGEST_S:
            raise SettingError(
                f"VLM_CAPTION_EVERY_S={self.vlm_caption_every_s:g}: a caption would cover {covered:g} s, and "
                f"{LONGEST_S:g} are the most: set VLM_CAPTION_CHUNK_S, the seconds that each covers, or lower it"
            )

    @property
    def replicas(self) -> int:
        """The number of worker processes, one per GPU."""
        return self.num_gpus if self.vlm_gpus_as == "replicas" and not self.vlm_url else 1

    def worker(self) -> WorkerSettings:
        """The limits of the worker loop. Per urgency, ready jobs are half of those in flight, so other replicas get the
        rest.
        """
        ahead = max(1, self.vlm_batch_size // 2)
        return WorkerSettings(
            batch_size=1,
            batch_wait_s=0.0,
            slots=self.vlm_batch_size,
            threads=ahead,
            hold=self.vlm_batch_size + ahead + 1,
            grace_s=self.vlm_grace_s,
            latency_target_s=self.vlm_latency_target_s,
            replica=self.replica,
        )
