"""The families of exported detectors, each recognised by its inputs, its outputs, its metadata and its labels. Pure.

Example:
    reading = recognise(facts)             # or recognise(facts, "yolox")
    reading.format, reading.picture, reading.evidence

A family answers for files that it alone explains. If two explain a file, or none does, it is refused: nothing is
guessed.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.cv.detectors.exports import configs, decoders, labels, libreyolo
from services.cv.detectors.exports.decoders import Decoder
from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.labels import Labels
from services.cv.detectors.exports.picture import CENTRE, CORNER, Picture
from services.cv.detectors.exports.reading import IMAGENET, IMAGENET_BGR, UNIT, Reading, Recogniser, named
from shared.runtime.errors import ModelError

_CENTRED = UNIT._replace(fit=CENTRE)
_ULTRALYTICS_IOU = 0.7
# Strides of the grids of YOLO, and of NanoDet-Plus and PicoDet.
YOLO, NANO = (8, 16, 32), (8, 16, 32, 64)
# Bins of the distribution of a distance, per side, in NanoDet and PicoDet.
_BINS = 8
# More rows of finished objects are no list of objects.
_MOST_ROWS = 2000


def recognise(facts: Facts, format: str = "") -> Reading:
    """Return how to use a file. format: of FORMATS, to choose among readings. Raises ModelError with the shapes."""
    if format and format not in FORMATS:
        raise ModelError(f"CV_MODEL_FORMAT={format} is not known: take one of {', '.join(FORMATS)}")
    _refuse_other_tasks(facts)
    # What libreyolo says of its files comes before their shapes, which it uses otherwise.
    makers = (libreyolo.readings,) if libreyolo.is_of(facts) and format in ("", "libreyolo") else _FAMILIES
    found = [reading for make in makers for reading in make(facts) if format in ("", reading.format)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(sorted({reading.format for reading in found}))
        raise ModelError(f"{facts.path} may be of {names}: set CV_MODEL_FORMAT to one of them. {_seen(facts)}")
    wanted = f"is not of CV_MODEL_FORMAT={format}" if format else "has no known layout"
    raise ModelError(f"{facts.path} {wanted}. {_seen(facts)}. {_remedy(facts)}")


def _refuse_other_tasks(facts: Facts) -> None:
    task = facts.metadata.get("task", "detect")
    if task not in ("detect", "object-detection"):
        raise ModelError(f"{facts.path} is a model for the task {task!r}, by its metadata: export one that detects")
    shapes = [output.shape for output in facts.outputs]
    if any(len(shape) == 4 and shape[-1] == shape[-2] and shape[-1] > 7 for shape in shapes):
        raise ModelError(f"{facts.path} segments pictures: export a model that detects. {_seen(facts)}")
    if len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][-1] != 7:
        raise ModelError(f"{facts.path} gives one list of scores, as a classifier: export a model that detects")


def _seen(facts: Facts) -> str:
    outputs = ", ".join(f"{'/'.join(sorted(o.names)) or 'unnamed'} {list(o.shape)}" for o in facts.outputs)
    known = f"{len(facts.labels.names)} labels of {facts.labels.source}" if facts.labels else "no labels"
    return f"It takes {facts.size[0]}x{facts.size[1]}, gives {outputs}, and has {known}"


def _remedy(facts: Facts) -> str:
    if not facts.path.parent.is_dir():
        return "Name the exported file in the address, ?file=/models/detector.onnx, for the labels next to it"
    file = facts.path.with_suffix(".labels.txt")
    hint = "Correct" if facts.labels else "Write"
    return f"{hint} its labels in {file}, one a line from id 0 on, or see docs/how-to/detect.md for the layouts"


def _only(facts: Facts, axes: int) -> tuple[int, ...]:
    """Return the shape of the file's one output, () if it has others, or not that many axes."""
    shape = facts.outputs[0].shape
    return shape if len(facts.outputs) == 1 and len(shape) == axes else ()


def _torchvision(facts: Facts) -> Iterator[Reading]:
    at = [facts.index(name) for name in ("boxes", "scores", "labels")]
    if None in at or facts.inputs or len(facts.outputs[at[0] or 0].shape) != 2:
        return
    decode = decoders.separate(at[0] or 0, at[1] or 0, at[2] or 0)
    yield Reading(
        "torchvision", UNIT, decode, _required(facts), "outputs boxes (n, 4), labels and scores", background=True
    )


def _detection_output(facts: Facts) -> Iterator[Reading]:
    shape = _only(facts, 4)
    if shape and shape[3] == 7:
        yield Reading(
            "detection-output",
            Picture(channels="BGR"),
            decoders.detection_output,
            _required(facts),
            "one output of rows of seven (DetectionOutput)",
            in_pixels=False,
            background=True,
        )


def _required(facts: Facts) -> Labels:
    if facts.labels is None:
        raise ModelError(f"{facts.path} has no labels. {_remedy(facts)}")
    return facts.labels


def _rt_detr(facts: Facts) -> Iterator[Reading]:
    """RT-DETR's and D-FINE's own export: finished objects, scaled by the input `orig_target_sizes`."""
    at = [facts.index(name) for name in ("boxes", "scores", "labels")]
    if None in at or "orig_target_sizes" not in facts.inputs:
        return
    known = facts.labels or labels.of_coco(80)
    assert known is not None
    yield Reading(
        "rt-detr",
        UNIT,
        decoders.separate(at[0] or 0, at[1] or 0, at[2] or 0),
        known,
        "input orig_target_sizes; outputs labels, boxes and scores (RT-DETR, D-FINE)",
        in_pixels=False,
        constants={"orig_target_sizes": (1, 1)},
    )


def _rf_detr(facts: Facts) -> Iterator[Reading]:
    boxes, logits = facts.index("dets"), facts.index("labels")
    if boxes is None or logits is None or len(facts.outputs) != 2:
        return
    count = facts.outputs[logits].shape[-1]
    known = named(facts, count, more=1)
    if facts.outputs[boxes].shape[-1] == 4 and known:
        decode = decoders.queries(boxes, logits, classes=len(known.names), softmax=False)
        yield Reading(
            "rf-detr", IMAGENET, decode, known, f"outputs dets and labels, {count} logits (RF-DETR)", in_pixels=False
        )


def _transformers(facts: Facts) -> Iterator[Reading]:
    """Exports of transformers: DETR has a class "no object", RT-DETR, D-FINE and Deformable DETR have none."""
    boxes, logits = facts.index("pred_boxes"), facts.index("logits")
    if boxes is None or logits is None:
        return
    count = facts.outputs[logits].shape[-1]
    picture, source = configs.of_transformers(facts)
    for format, classes, softmax in (("detr", count - 1, True), ("rt-detr", count, False)):
        if known := named(facts, classes):
            yield Reading(
                format,
                picture or (IMAGENET if softmax else UNIT),
                decoders.queries(boxes, logits, classes=classes, softmax=softmax),
                known,
                f"outputs logits and pred_boxes, {count} logits for {classes} classes; pixels by {source}",
                in_pixels=False,
                constants=dict.fromkeys(facts.inputs & {"pixel_mask"}, ()),
            )


def _ultralytics_queries(facts: Facts) -> Iterator[Reading]:
    """RT-DETR by Ultralytics: a score for each class, or finished objects as rows of six. Boxes are shares.

    YOLO's finished objects are rows of six, too: the metadata tell them apart.
    """
    shape = _only(facts, 3)
    if not shape or not _is_ultralytics(facts) or shape[1] == facts.anchors(*YOLO) or shape[1] > _MOST_ROWS:
        return
    if shape[2] == 6 and "yolo" in _made_of(facts):
        return
    if shape[2] == 6 and "rtdetr" in _made_of(facts) and facts.labels:
        decode = decoders.rows(box=slice(0, 4), score=4, id=5, corners=False)
        evidence = f"Ultralytics' metadata; {shape[1]} rows of six (RT-DETR)"
        yield Reading("rt-detr", UNIT, decode, facts.labels, evidence, in_pixels=False)
    elif known := named(facts, shape[2] - 4):
        decode = decoders.dense(columns_first=False)
        yield Reading(
            "rt-detr", UNIT, decode, known, f"Ultralytics' metadata; {shape[1]} queries (RT-DETR)", in_pixels=False
        )


def _yolo_rows(facts: Facts) -> Iterator[Reading]:
    """YOLOv10, and any of Ultralytics exported with NMS: rows x1, y1, x2, y2, score, id."""
    shape = _only(facts, 3)
    if "rtdetr" in _made_of(facts):
        return
    if shape and shape[2] == 6 and 0 < shape[1] <= _MOST_ROWS and shape[1] != facts.anchors(*YOLO) and facts.labels:
        decode = decoders.rows(box=slice(0, 4), score=4, id=5)
        yield Reading(
            "yolo-rows", _CENTRED, decode, facts.labels, f"{shape[1]} rows of six (YOLOv10, or exported with NMS)"
        )


def _yolov8(facts: Facts) -> Iterator[Reading]:
    shape = _only(facts, 3)
    if not shape:
        return
    columns_first = shape[2] == facts.anchors(*YOLO)
    values, cells = shape[1:] if columns_first else shape[:0:-1]
    if values > 4 and cells == facts.anchors(*YOLO) and (known := named(facts, values - 4)):
        evidence = f"{cells} cells of strides 8, 16, 32, each with 4 + {values - 4} values (YOLOv8, v9, 11, 12)"
        decode = decoders.dense(columns_first=columns_first)
        yield Reading("yolov8", _CENTRED, decode, known, evidence, iou=_ULTRALYTICS_IOU)


def _yolov5(facts: Facts) -> Iterator[Reading]:
    shape = facts.outputs[0].shape
    if len(shape) != 3 or shape[1] != 3 * facts.anchors(*YOLO):
        return
    if known := named(facts, shape[2] - 5):
        decode = decoders.dense(columns_first=False, objectness=True)
        evidence = f"{shape[1]} boxes of three anchors, each with 5 + {shape[2] - 5} values (YOLOv5, v7)"
        yield Reading("yolov5", _CENTRED, decode, known, evidence, iou=0.45)


def _yolox(facts: Facts) -> Iterator[Reading]:
    shape = _only(facts, 3)
    if not shape or _is_ultralytics(facts) or shape[1] != facts.anchors(*YOLO):
        return
    if known := named(facts, shape[2] - 5):
        decode = decoders.dense(columns_first=False, objectness=True)
        evidence = f"{shape[1]} cells, each with 5 + {shape[2] - 5} values (YOLOX)"
        picture = Picture(channels="BGR", fit=CORNER)
        yield Reading("yolox", picture, decode, known, evidence, iou=0.65, is_raw=True)


def _yolo_nas(facts: Facts) -> Iterator[Reading]:
    """YOLO-NAS: boxes and scores, or finished objects as rows or as four arrays.

    Its weights, and its exports with steps for pixels, take RGB, as super-gradients' `predict` does.
    """
    picture = Picture(fit=CENTRE, deviation=(1.0,) * 3 if facts.is_uint8 else (255.0,) * 3)
    shapes = [output.shape for output in facts.outputs]
    decoded: tuple[Decoder, Labels | None, str, float | None] | None = None
    if len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] == 7:
        decode = decoders.rows(box=slice(1, 5), score=5, id=6)
        decoded = decode, facts.labels or labels.of_coco(80), "rows of seven (YOLO-NAS, flat)", None
    elif len(shapes) == 4 and shapes[0][-1:] == (1,) and [s[1:] for s in shapes[1:]] == _finished(shapes[1]):
        decode = decoders.separate(1, 2, 3, count=0)
        decoded = (
            decode,
            facts.labels or labels.of_coco(80),
            "a count, boxes, scores and classes (YOLO-NAS, batch)",
            None,
        )
    elif len(shapes) == 2 and shapes[0] == (1, facts.anchors(*YOLO), 4) and shapes[1][:2] == shapes[0][:2]:
        decode = decoders.pair(0, 1, classes_first=False)
        count = shapes[1][2]
        decoded = decode, named(facts, count), f"{shapes[0][1]} boxes and {count} scores of each (YOLO-NAS)", 0.7
    if decoded and decoded[1]:
        yield Reading("yolo-nas", picture, decoded[0], decoded[1], decoded[2], iou=decoded[3])


def _finished(boxes: tuple[int, ...]) -> list[tuple[int, ...]]:
    count = boxes[1] if len(boxes) > 1 else -1
    return [(count, 4), (count,), (count,)]


def _nanodet(facts: Facts) -> Iterator[Reading]:
    shape = _only(facts, 3)
    strides = next((s for s in (NANO, YOLO) if shape and shape[1] == facts.anchors(*s)), None)
    if not strides or _is_ultralytics(facts):
        return
    classes = shape[2] - 4 * _BINS
    if classes > 0 and (known := named(facts, classes)):
        decode = decoders.distributions(facts.size, strides, classes)
        evidence = f"{shape[1]} cells, each with {classes} scores and 4 distributions of {_BINS} (NanoDet)"
        yield Reading("nanodet", IMAGENET_BGR, decode, known, evidence, iou=0.6)


def _paddle(facts: Facts) -> Iterator[Reading]:
    """PicoDet, PP-YOLOE and RT-DETR by PaddleDetection: finished rows, or boxes and scores before NMS."""
    constants: dict[str, tuple[float, ...]] = dict.fromkeys(facts.inputs & {"scale_factor"}, (1.0, 1.0))
    constants |= dict.fromkeys(facts.inputs & {"im_shape"}, (float(facts.size[1]), float(facts.size[0])))
    shapes = [output.shape for output in facts.outputs]
    if len(shapes) != 2:
        return
    picture, source = configs.of_paddle(facts)
    if len(shapes[0]) == 2 and shapes[0][1] == 6 and picture and (known := facts.labels or labels.of_coco(80)):
        decode = decoders.rows(box=slice(2, 6), score=1, id=0)
        evidence = f"rows of class, score and box, and their number (PaddleDetection); pixels by {source}"
        yield Reading("paddle", picture, decode, known, evidence, constants=constants)
    is_before_nms = shapes[0] == (1, facts.anchors(*NANO), 4) and shapes[1][2:] == shapes[0][1:2]
    if is_before_nms and (known := named(facts, shapes[1][1])):
        decode = decoders.pair(0, 1, classes_first=True)
        evidence = f"{shapes[0][1]} boxes, and {shapes[1][1]} classes by box (PicoDet); pixels by {source}"
        yield Reading("paddle", picture or IMAGENET, decode, known, evidence, iou=0.6, constants=constants)


def _efficientdet(facts: Facts) -> Iterator[Reading]:
    """EfficientDet, SSD and others of TFLite's shape: y1, x1, y2, x2 as shares; classes, scores, a count."""
    shapes = [output.shape for output in facts.outputs]
    if len(shapes) != 4 or facts.layout != "NHWC" or len(shapes[0]) != 3 or shapes[0][2] != 4:
        return
    known = facts.labels or labels.of_coco(91)
    if shapes[1:] == [shapes[0][:2], shapes[0][:2], (1,)] and known:
        names = known if facts.labels else known._replace(names=known.names[1:])
        picture = Picture() if facts.is_uint8 else Picture(mean=(127.5,) * 3, deviation=(127.5,) * 3)
        decode = decoders.separate(0, 2, 1, count=3, order=(1, 0, 3, 2))
        evidence = "boxes, classes, scores and a count (TFLite's postprocessing: EfficientDet, SSD)"
        yield Reading("efficientdet", picture, decode, names, evidence, in_pixels=False)


def _made_of(facts: Facts) -> str:
    """Return Ultralytics' name of the model, and of its head: `rtdetr-l`, `RTDETRDecoder`; in small letters."""
    return " ".join(facts.metadata.get(key, "") for key in ("description", "head")).lower()


def _is_ultralytics(facts: Facts) -> bool:
    return {"names", "stride"} <= facts.metadata.keys()


_FAMILIES: tuple[Recogniser, ...] = (
    _torchvision,
    _detection_output,
    _rt_detr,
    _rf_detr,
    _transformers,
    _ultralytics_queries,
    _yolo_rows,
    _yolov8,
    _yolov5,
    _yolox,
    _yolo_nas,
    _nanodet,
    _paddle,
    _efficientdet,
)
FORMATS = (
    "detection-output",
    "detr",
    "efficientdet",
    "libreyolo",
    "nanodet",
    "paddle",
    "rf-detr",
    "rt-detr",
    "torchvision",
    "yolo-nas",
    "yolo-rows",
    "yolov5",
    "yolov6",
    "yolov8",
    "yolox",
)
