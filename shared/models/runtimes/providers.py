"""The options of ONNX Runtime for a device: its execution providers, first the device's own. Pure.

Example:
    of(Device("tensorrt"), precision="f16", folder=path, shape=(8, 640, 640, 3))
"""

from __future__ import annotations

from pathlib import Path

from shared.models.devices import Device

# The provider of a device, by its kind.
NEEDED = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "MIGraphXExecutionProvider",
}
# The name of the image, without the characters that separate shapes of a profile.
IMAGE = "tidegate_image"
Providers = list[tuple[str, dict[str, str]]]


def of(device: Device, *, precision: str = "", folder: Path | None = None, shape: tuple[int, ...] = ()) -> Providers:
    """Return the providers of a device, with those behind it that run what it can't.

    folder: of the compiled engines. shape: of the largest batch, if the batch is open: one engine then serves all
    batches up to it, so that none is built while segments wait.
    """
    index = str(device.number)
    cpu: Providers = [(NEEDED["cpu"], {})]
    # The exhaustive search would run for each new size of a batch, on the way of a segment.
    algorithms = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0" if precision == "f32" else "1"}
    cuda: Providers = [(NEEDED["cuda"], {"device_id": index, **algorithms})]
    if device.kind == "cuda":
        return cuda + cpu
    if device.kind == "tensorrt":
        return [(NEEDED["tensorrt"], _tensorrt(index, precision, folder, shape)), *cuda, *cpu]
    if device.kind == "rocm":
        options = {"device_id": index, "migraphx_fp16_enable": "1" if precision == "f16" else "0"}
        if folder:
            options["migraphx_model_cache_dir"] = str(folder)
        return [(NEEDED["rocm"], options), *cpu]
    return cpu


def _tensorrt(index: str, precision: str, folder: Path | None, shape: tuple[int, ...]) -> dict[str, str]:
    options = {"device_id": index, "trt_fp16_enable": "1" if precision == "f16" else "0"}
    if folder:
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder)}
    if shape:
        largest, least = (f"{IMAGE}:{'x'.join(map(str, dims))}" for dims in (shape, (1, *shape[1:])))
        options |= {"trt_profile_min_shapes": least}
        options |= {"trt_profile_opt_shapes": largest, "trt_profile_max_shapes": largest}
    return options
