"""Detects objects: segments in, `events.detections.<camera>` out.

| module | idea |
|---|---|
| `detectors` | object detection models, behind one interface |
| `tiles` | detects in parts of a frame too, for small objects; pure |
| `service` | the worker loop's functions: decode, detect, make the event |
| `skipping`, `static_scene/` | the seam for segments that need no inference; those of static scenes |
| `coco` | the labels of the embedded detector |

`app` attaches what is optional, and `__main__` puts them together.
"""
