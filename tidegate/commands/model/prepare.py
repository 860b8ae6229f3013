"""`tidegate model prepare`: compiles a detector's file for its device, before a worker starts."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import click

from shared.models import devices
from shared.models.runtimes import cache
from tidegate.commands.model.loading import device_options, loaded
from tidegate.commands.options import COUNT
from tidegate.view.inert import echo, one_line
from tidegate.view.waiting import waited_for

# Devices that take seconds to minutes to compile a file, and store the result.
_STORING = ("tensorrt", "rocm", "intel-gpu", "intel-npu")


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--format", "family", default="", help="Family of the file, as CV_MODEL_FORMAT. Default: recognised.")
@click.option(
    "--batch-size", type=COUNT, default=8, show_default=True, help="Maximum images in a batch, as CV_BATCH_SIZE."
)
@device_options
def prepare(file: str, family: str, batch_size: int, device: str, runtime: str, precision: str) -> None:
    """Compile FILE, an .onnx or .xml file, for a device, into TIDEGATE_CACHE.

    \b
    An engine of TensorRT:  tidegate model prepare yolo11n.onnx --device tensorrt --precision f16
    On a GPU of Intel:      tidegate model prepare yolo11n.onnx --device intel-gpu

    Run it with the worker's settings, on the same kind of GPU and with the same packages. Otherwise the worker compiles
    the file at its start, before its first segment.
    """
    began = time.monotonic()
    load = partial(loaded, file, format=family, batch_size=batch_size)
    work = asyncio.to_thread(load, device=device, runtime=runtime, precision=precision)
    detector = asyncio.run(waited_for(work, f"compiling for {device}"))
    echo(f"{one_line(detector.runtime.description)}: ready in {time.monotonic() - began:.1f} s")
    if devices.parse(device).kind in _STORING:
        echo(f"stored below {cache.root() / 'engines'}: the next start reads it")
    else:
        echo(f"nothing to prepare: {device} compiles the file at each start, in that time or less")
