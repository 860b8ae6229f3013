"""Exports of libreyolo: their metadata name the family, and how its pictures and boxes are. Pure.

Its YOLOv9 has corners where others have centre and size, and its YOLO-NAS names boxes `pred_logits`. So its metadata
come before shapes and names: a family that is not here is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from services.cv import coco
from services.cv.detectors.exports import decoders
from services.cv.detectors.exports.decoders import Decoder
from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.labels import Labels
from services.cv.detectors.exports.picture import CENTRE, CORNER, Picture
from services.cv.detectors.exports.reading import IMAGENET, IMAGENET_BGR, UNIT, Reading, named
from shared.runtime.errors import ModelError

# The limit of libreyolo's own predict.
_IOU = 0.45
# The sizes of DEIMv2 whose backbone is DINOv3.
_DINO_SIZES = ("s", "m", "l", "x")


class _Family(NamedTuple):
    """make: of the decoder, and labels by its ids. None if the outputs have other shapes. is_clipped: whether its own
    code cuts boxes off at the picture before it suppresses overlaps.
    """

    picture: Picture
    make: Callable[[Facts], tuple[Decoder, Labels] | None]
    iou: float | None = _IOU
    is_clipped: bool = True
    in_pixels: bool = True


def readings(facts: Facts) -> Iterator[Reading]:
    """Yield how to use a file of libreyolo. Raises ModelError for a family that is not known here."""
    name = facts.metadata["model_family"]
    family = _FAMILIES.get(name)
    if family is None or facts.metadata.get("deepstream") == "true":
        raise ModelError(
            f"{facts.path} is {name!r} of libreyolo, in a layout that is not known here: export one of "
            f"{', '.join(sorted(_FAMILIES))}, without deepstream"
        )
    if decoded := family.make(facts):
        picture = family.picture
        if name.startswith("yolo9"):
            picture = UNIT._replace(fit=CENTRE if facts.metadata.get("letterbox_pad") == "center" else CORNER)
        if name == "deimv2" and facts.metadata.get("size") in _DINO_SIZES:
            picture = IMAGENET
        evidence = f"libreyolo's metadata: {name}, version {facts.metadata['libreyolo_version']}"
        yield Reading(
            "libreyolo",
            picture,
            *decoded,
            evidence,
            iou=family.iou,
            is_clipped=family.is_clipped,
            in_pixels=family.in_pixels,
        )


def is_of(facts: Facts) -> bool:
    """Return whether libreyolo made the file."""
    return {"libreyolo_version", "model_family"} <= facts.metadata.keys()


def _cells(
    facts: Facts, *, columns_first: bool = False, corners: bool = True, objectness: bool = False, best: bool = False
) -> tuple[Decoder, Labels] | None:
    """Read one array of cells: the second of two if suppression is in the file, whose limits are not ours."""
    output = facts.index("raw") or 0
    shape = facts.outputs[output].shape
    if len(shape) != 3 or (len(facts.outputs) > 1 and not output):
        return None
    known = named(facts, shape[1 if columns_first else 2] - 4 - objectness)
    decode = decoders.dense(
        output, columns_first=columns_first, corners=corners, objectness=objectness, several=not best
    )
    return (decode, known) if known else None


def _boxes_and_scores(facts: Facts, *, best: bool) -> tuple[Decoder, Labels] | None:
    shapes = [output.shape for output in facts.outputs]
    if len(shapes) != 2 or shapes[0][2:] != (4,) or shapes[1][:2] != shapes[0][:2]:
        return None
    known = named(facts, shapes[1][2])
    return (decoders.pair(0, 1, classes_first=False, several=not best), known) if known else None


def _queries(facts: Facts, *, softmax: bool = False) -> tuple[Decoder, Labels] | None:
    """Read logits and boxes in either order, by names: RF-DETR has `dets` and `labels`."""
    boxes = next((at for name in ("pred_boxes", "boxes", "dets") if (at := facts.index(name)) is not None), None)
    if boxes is None or len(facts.outputs) != 2 or facts.outputs[boxes].shape[2:] != (4,):
        return None
    classes = facts.outputs[1 - boxes].shape[2] - softmax
    known = named(facts, classes) or _by_coco_id(facts, classes)
    return (decoders.queries(boxes, 1 - boxes, classes=classes, softmax=softmax), known) if known else None


def _by_coco_id(facts: Facts, classes: int) -> Labels | None:
    """Return the labels of COCO's 80 classes by their ids up to 90, None if these are others."""
    names = iter(facts.labels.names if facts.labels else coco.LABELS)
    if classes != len(coco.BY_ID) or (facts.labels and len(facts.labels.names) != len(coco.LABELS)):
        return None
    by_id = tuple("-" if at == 0 or name == "-" else next(names) for at, name in enumerate(coco.BY_ID))
    return Labels(by_id, "COCO's ids, as there are 91 logits for 80 classes")


_YOLO9 = partial(_cells, columns_first=True)
_DETR = _Family(UNIT, _queries, iou=None, in_pixels=False)
_FAMILIES = {
    "deim": _DETR,
    "deimv2": _DETR,
    "detr": _Family(IMAGENET, partial(_queries, softmax=True), iou=None, in_pixels=False),
    "dfine": _DETR,
    "lwdetr": _DETR._replace(picture=IMAGENET),
    "picodet": _Family(IMAGENET, _cells),
    "ppyoloe": _Family(IMAGENET, partial(_boxes_and_scores, best=False), is_clipped=False),
    "rfdetr": _DETR._replace(picture=IMAGENET),
    "rtdetr": _DETR,
    "rtdetrv2": _DETR,
    "rtdetrv4": _DETR,
    "rtmdet": _Family(IMAGENET_BGR._replace(fit=CORNER), _cells),
    "yolo9": _Family(UNIT, _YOLO9),
    "yolo9_e2e": _Family(UNIT, _YOLO9, iou=None),
    "yolonas": _Family(UNIT._replace(fit=CENTRE), partial(_boxes_and_scores, best=True)),
    "yolox": _Family(Picture(channels="BGR", fit=CORNER), partial(_cells, objectness=True, corners=False, best=True)),
}
