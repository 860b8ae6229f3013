"""Detects objects: segments in, `events.detections.<camera>` out.

| module | idea |
|---|---|
| `remote` | the address of a model on an inference server; pure |
| `model_spec` | what CV_MODEL names, without loading it |
| `model_names` | what CV_MODELS names; pure |
| `settings` | settings from the environment |
| `coco` | the labels of the embedded detector |
| `detectors` | object detection models, behind one interface |
| `models` | the detectors of a replica, and the one of each camera |
| `tiles` | detects in parts of a frame too, for small objects; pure |
| `looking` | the objects in a segment's pictures, live or recorded; pure |
| `skipping`, `static_scene` | the seam for segments that need no inference; those of static scenes |
| `service` | the worker loop's functions: decode, detect, make the event |
| `app` | attaches what is optional |

`__main__` puts them together.
"""
