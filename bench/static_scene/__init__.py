"""`make bench-static-scene`: the cost of a static scene with cv's gate, and the incidents that the gate misses.

| module | idea |
|---|---|
| `planes` | a picture as the three planes of an encoder's input |
| `cutouts` | people and cars, cut out of the footage |
| `visits` | the times and places of visitors; pure |
| `scene` | the camera's picture: a static scene, disturbances, and visitors |
| `encoding` | the scene as a camera encodes it: segments of MEDIA |
| `films` | the detector's results for each frame, and the small pictures; cached on disk |
| `decoding` | the CPU of a frame probe next to full decoding |
| `cases` | the scenes to run |
| `dealing` | the gate with several replicas, on cached results; without a device |
| `score` | incidents of both runs, side by side |
| `synthetic` | synthetic scenes, one sort of disturbance each; without footage or a device |
| `synthetic_bench` | the gate's work and misses on these, by sort |
| `dashes` | encoded films of dashes between two keyframes |
| `dashes_bench` | dashes found by the gate's setting and by packet sizes, and the CPU of checks |
| `workers` | the gate in real workers on a real server |

`__main__` prints the table.
"""
