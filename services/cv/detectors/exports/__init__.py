"""Detectors from exported files, recognised by their inputs, outputs, metadata and labels.

    detector = load("/models/yolo11n.onnx", options)
    detector.reading.format, detector.reading.evidence

| module | what it has |
|---|---|
| `facts` | what a file says of itself |
| `labels` | labels in its metadata, or next to it |
| `configs` | the pixels that a file next to it asks for |
| `reading` | how to use a file |
| `families` | the known families, and how each is recognised |
| `libreyolo` | those of libreyolo, by its metadata |
| `trial` | what its outputs on noise show |
| `picture` | how it wants its picture |
| `decoders` | from its outputs to objects |
| `detector` | the detector, by OpenVINO |
"""

from services.cv.detectors.exports.detector import load

__all__ = ["load"]
