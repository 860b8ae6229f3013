"""All of one camera, from detections to what is published. Pure: no clock, no I/O.

| module | idea |
|---|---|
| `order` | segments put back in order |
| `state`, `statements` | what a restart must find; what is published, under its id |
| `analysis` | segments in order: objects, rules and counts of each frame |
| `camera` | events in any order, and the time that passes |
"""
