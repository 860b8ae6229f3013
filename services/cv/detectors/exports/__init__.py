"""Detectors from exported files, recognised by their inputs, outputs, metadata and labels.

    detector = load("/models/yolo11n.onnx", options)
    detector.reading.format, detector.reading.evidence

| module | what it has |
|---|---|
| `labels` | labels in its metadata, or next to it |
| `facts` | what a file says of itself |
| `decoders` | from its outputs to objects |
| `picture` | how it wants its picture |
| `configs` | the pixels that a file next to it asks for |
| `reading` | how to use a file |
| `libreyolo` | those of libreyolo, by its metadata |
| `families` | the known families, and how each is recognised |
| `trial` | what its outputs on noise show |
| `onnx_graph` | the file with steps for its image, for ONNX Runtime |
| `detector` | the detector |
"""

from services.cv.detectors.exports.detector import load

__all__ = ["load"]
