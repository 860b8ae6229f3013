"""Records cameras' video out of MEDIA into files, and answers with what was recorded.

| module | idea |
|---|---|
| `settings` | what it reads from the environment |
| `tails` | what MEDIA holds that is not recorded yet, by headers alone |
| `ledgers` | how far each camera is, in KV, over the revision that was read |
| `sharing` | which cameras this process records |
| `masking` | parts of the picture made black, in a process of its own |
| `writing` | one window of a camera: read, made a file, kept, and its place moved |
| `recorder` | the loop over cameras |
| `keeping` | what is decided of closed hours: what stays, what goes, what nobody knows |
| `rest` | what stays of a file that nobody wanted |
| `answering` | requests on svc.recording |
"""
