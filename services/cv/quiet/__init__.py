"""Quiet video costs little: a segment in which nothing has changed is not looked at.

    gate = Gate(Made("ssd", ...))
    look = gate.known(scene, picture, at)        # the look that the picture equals, or None
    scene = gate.learned(scene, picture, at, frames)

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
| `watch` | when a full look falls, whoever has the segment |
| `shared_scenes` | scenes of all cameras, shared with other replicas |
| `earlier` | the segment before one in which something differs |
| `gate` | all of it, for the service |

All but the last three are pure. bench/quiet measures what it saves and what it misses.
"""
