"""`tidegate model`: commands for detectors, one per file.

| module | idea |
|---|---|
| `footage`, `loading` | the video that they measure on; options of a device |
| `new` | a package with a detector of one's own |
| `prepare` | a file, compiled for a device |
| `show` | how a file is used |
| `bench` | detectors by their speed |
| `add` | a detector's capacity, its ScaledObject, and its place among those of `up` |
| `compare` | where two detectors differ, on the same frames |
| `list`, `use` | the measured models, and the active one |
"""

from __future__ import annotations

import click

from tidegate.commands.model.add import add
from tidegate.commands.model.bench import bench
from tidegate.commands.model.compare import compare
from tidegate.commands.model.list import list_models
from tidegate.commands.model.new import new
from tidegate.commands.model.prepare import prepare
from tidegate.commands.model.show import show
from tidegate.commands.model.use import use


@click.group()
def model() -> None:
    """Use a detector of your own: see how, measure what it costs, and run it.

    \b
    What a file is:         tidegate model show yolo11n.onnx
    Its boxes:              tidegate model show yolo11n.onnx --picture yard.jpg --save boxes.jpg
    For a GPU, once:        tidegate model prepare yolo11n.onnx --device tensorrt
    Its speed:              tidegate model bench yolo11n.onnx openvino:ssd_mobilenet_v2_coco
    Its capacity:           tidegate model add yolo11n.onnx --price 0.4
    How it differs:         tidegate model compare openvino:ssd_mobilenet_v2_coco yolo11n --camera lobby
    Run it:                 tidegate model use yolo11n && tidegate up
    Go back:                tidegate model use --default
    Code of your own:       tidegate model new my_detector
    """


model.add_command(new)
model.add_command(prepare)
model.add_command(show)
model.add_command(bench)
model.add_command(add)
model.add_command(compare)
model.add_command(list_models)
model.add_command(use)
