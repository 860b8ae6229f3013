"""Quiet video costs little: a segment in which nothing has changed is not looked at.

    watched = await quiet.begin(message, head, made)
    decoded = await segments.decode(..., probe=watched.probe)     # its first frame, where that is enough
    watched.match                                                   # the look that it equals, or None
    quiet.said(watched, frames, images)

A look is what the detector found in a segment that was looked at in full, and a small grey picture of its first frame.
Where the picture of another segment differs from that in no block, by more than the light, a shaking camera and each
block's own noise explain, the objects of the look are there still: its boxes are said again, and the device is not
asked. What stands still is a part of the picture, and its box a part of the look.

| module | idea |
|---|---|
| `picture` | the small picture |
| `compare` | what differs between two of them |
| `noise` | how much each block changes by itself |
| `scene` | looks and noise of a camera: known, learned, merged |
| `entry` | a scene as the bucket holds it |
| `full_inference` | when a segment is analysed in full, on whichever replica |
| `gate` | what a replica knows of its cameras |
| `scene_check` | what is seen of one segment as it is decoded |
| `shared_scenes` | scenes in the bucket, where other replicas find them |
| `earlier`, `deferring` | the segment before one with news, which is looked at after all |
| `video` | all of it, for the service |

All but the last four are pure. bench/static_scene measures what it saves and what it misses.
"""
