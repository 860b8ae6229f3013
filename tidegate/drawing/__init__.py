"""Frames with detections, tracks and rules drawn into them, and plots.

| module | idea |
|---|---|
| `scene` | rules and tracks drawn into frames |
| `track_video` | a camera's video with its tracks and rules |
| `detections` | a frame with its detections |
| `simulation`, `audit` | plots of a simulation and of an audit |
"""
