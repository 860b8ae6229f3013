"""`tidegate model`: commands for detectors, one per file."""

from __future__ import annotations

import click

from tidegate.commands.model.new import new
from tidegate.commands.model.prepare import prepare
from tidegate.commands.model.show import show


@click.group()
def model() -> None:
    """Use a detector of your own.

    \b
    What a file is:         tidegate model show yolo11n.onnx
    Its boxes:              tidegate model show yolo11n.onnx --picture yard.jpg --save boxes.jpg
    Code of your own:       tidegate model new my_detector
    For a GPU, once:        tidegate model prepare yolo11n.onnx --device tensorrt
    """


model.add_command(new)
model.add_command(prepare)
model.add_command(show)
