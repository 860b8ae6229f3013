"""Parts of a camera's picture made black before it is recorded, in a process that has nothing but the video.

| module | idea |
|---|---|
| `covering` | which pixels polygons cover, row by row |
| `work` | what the process is asked, and answers |
| `painting` | segments decoded, made black in places, and encoded with their times |
| `child` | the process |
| `masker` | asks it, and ends it where it takes too long |
"""
