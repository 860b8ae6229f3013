"""Blackens parts of a camera's picture before it is recorded, in a process that has only the video.

| module | idea |
|---|---|
| `work` | the request to the process, and its answer |
| `painting` | decodes segments, blackens the masks, and encodes each frame with its time |
| `child` | the process |
| `masker` | runs the process, and ends it if it takes too long |
"""
