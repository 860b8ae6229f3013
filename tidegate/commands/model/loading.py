"""The options of a file's device, and the file loaded by them, as a worker of cv loads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from services.cv import detectors, model_spec
from services.cv.detectors.exports.detector import ExportedDetector
from shared.runtime.errors import SettingError

Command = Callable[..., Any]
_OPTIONS = (
    click.option("--device", default="cpu", show_default=True, help="Device, in the format of CV_DEVICE."),
    click.option("--runtime", default="", help="openvino or onnxruntime, as CV_RUNTIME. Default: by the device."),
    click.option("--precision", default="", help="f32, bf16 or f16, as CV_PRECISION. Default: the runtime's choice."),
)


def device_options(command: Command) -> Command:
    """Add --device, --runtime and --precision to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def loaded(file: str, *, device: str, runtime: str, precision: str, **options: Any) -> ExportedDetector:
    """Return the detector of a file or an address. options: of DetectorOptions. Raises SettingError or ModelError."""
    device_settings = {"device": device, "runtime": runtime, "precision": precision}
    model_spec.check(file, **device_settings)
    if model_spec.parse(file)[0] not in model_spec.RECOGNISED:
        raise SettingError(f"{file} is no .onnx or .xml file, and no address of a server")
    detector = detectors.load(file, **device_settings, **options)
    assert isinstance(detector, ExportedDetector)
    return detector
