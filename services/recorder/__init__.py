"""Records cameras' video from MEDIA into files, and answers requests for recordings.

| module | idea |
|---|---|
| `settings`, `metrics` | settings from the environment; exported metrics |
| `tails` | segments of MEDIA that are not recorded yet, by headers alone |
| `ledgers` | each camera's position, in KV, written over the revision that was read |
| `sharing`, `admission` | the cameras of this process; those of them that it records |
| `masking` | blackens parts of the picture, in a process of its own |
| `writing` | one window of a camera: read it, write a file, and advance the camera's position |
| `recorder` | the loop over cameras |
| `rest` | what remains of a file that the policy does not keep |
| `keeping` | retention of closed hours: what stays, what is removed, unindexed files |
| `answering` | requests on svc.recording |
| `erasing` | requests on svc.recording.erase: a camera's files, all or of a time range |
| `app` | wires the parts, and starts and stops them in order |
"""
