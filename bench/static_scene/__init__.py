"""`make bench-static-scene`: what a static scene costs with the gate of cv, and what is missed because of it.

| module | idea |
|---|---|
| `planes` | a picture as the three planes that an encoder takes |
| `cutouts` | people and cars, cut out of the footage there is |
| `visits` | who comes when, and where they are; pure |
| `scene` | what the camera sees: a still scene, what disturbs it, and its visitors |
| `encoding` | that as cameras encode it: segments of MEDIA |
| `looking` | what the detector finds in each frame, and the small pictures; kept on disk |
| `decoding` | what a glance takes beside decoding all |
| `cases` | the scenes that are tried |
| `dealing` | the gate at so many replicas, on what was looked at; no device is asked |
| `score` | incidents of both runs, side by side |

`__main__` prints the table.
"""
