"""Finds objects: segments come in, `events.detections.<camera>` go out.

| module | idea |
|---|---|
| `detectors` | models that find objects, behind one interface |
| `tiles` | looks at a frame in parts too, for small objects; pure |
| `service` | what the worker loop is given: decode, detect, make the event |
| `coco` | the labels of the embedded detector |

`__main__` puts them together.
"""
