"""Detectors on an inference server that speaks the Open Inference Protocol: Triton, KServe, OpenVINO Model Server.

    detector = load("//gpu-1:8001/yolo11", options)

| module | what it has |
|---|---|
| `tensors` | tensors from pictures, and arrays from tensors |
| `signature` | what the server says of a model |
| `client` | the calls, and the wait for a server that is away |
| `detector` | the detector |
"""

from services.cv.detectors.kserve.detector import load, missing

__all__ = ["load", "missing"]
