"""RF-DETR by its own package."""

from __future__ import annotations

from pathlib import Path

import rfdetr
import torch
from PIL import Image

from tests.support.foreign_exports import own, untrained
from tests.support.foreign_exports.own import Found, Own

# Of its classes by COCO's ids.
_COCO = 90
_MEAN, _DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def make(detector: str, folder: Path) -> Own:
    """detector: `nano-` and the number of classes: 90 are COCO's ids."""
    classes = int(detector.partition("-")[2])
    model = rfdetr.RFDETRNano(pretrain_weights=None, num_classes=classes, device="cpu")
    network = model.model.model.eval()
    side = model.model.resolution
    picture = untrained.picture(side, side)
    pictures = [torch.from_numpy(each / 255.0).float() for each in (picture, untrained.noise(side, side))]
    pixels = torch.stack([((each - _MEAN) / _DEVIATION).permute(2, 0, 1) for each in pictures])
    untrained.spread(
        network,
        lambda: network(pixels),
        scores=untrained.layers(network, r"(enc_out_)?class_embed(\.\d+)?"),
        boxes=untrained.layers(network, r"bbox_embed(\.\d+)?\.layers\.2"),
        box=untrained.CORRECTIONS,
    )
    model.export(output_dir=str(folder), verbose=False)
    (file,) = folder.glob("*.onnx")
    if classes != _COCO:
        file.with_suffix(".labels.txt").write_text("\n".join(model.class_names[:classes]))

    def detect() -> Found:
        found = model.predict(Image.fromarray(picture), threshold=own.LEAST, include_source_image=False)
        names = found.data["class_name"]
        # One more logit than classes, and COCO's ids that it does not use, are no objects.
        found = found[[bool(name) and name != "__background__" for name in names]]
        return Found(found.xyxy.tolist(), list(found.data["class_name"]), found.confidence.tolist())

    return Own(file, picture, detect)
