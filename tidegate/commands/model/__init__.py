"""`tidegate model`: commands for detectors, one per file.

| module | idea |
|---|---|
| `footage` | the video that they measure on |
| `show` | how a file is used |
| `bench` | detectors by their speed |
| `add` | a detector's capacity, its ScaledObject, and its place among those of `up` |
| `list`, `use` | the measured models, and the active one |
"""

from __future__ import annotations

import click

from tidegate.commands.model.add import add
from tidegate.commands.model.bench import bench
from tidegate.commands.model.list import list_models
from tidegate.commands.model.show import show
from tidegate.commands.model.use import use


@click.group()
def model() -> None:
    """Show how a detector's file is used, measure what it costs, and run it.

    \b
    What the file is:       tidegate model show yolo11n.onnx
    Its boxes:              tidegate model show yolo11n.onnx --picture yard.jpg --save boxes.jpg
    Its speed:              tidegate model bench yolo11n.onnx openvino:ssd_mobilenet_v2_coco
    Its capacity:           tidegate model add yolo11n.onnx --price 0.4
    Run it:                 tidegate model use yolo11n && tidegate up
    Go back:                tidegate model use --default
    """


model.add_command(show)
model.add_command(bench)
model.add_command(add)
model.add_command(list_models)
model.add_command(use)
