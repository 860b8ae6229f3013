"""The frames that the model gets, as JPEG: out of MEDIA, or out of recordings of what MEDIA has deleted.

| module | idea |
|---|---|
| `frame_budget`, `sampling` | how many frames, and which; pure |
| `jpeg` | parts of video, decoded |
| `larger` | the same frames of a camera's main stream, if a frame may have more pixels |
| `footage` | frames of a stretch of a camera's time, or of some segments, stored or recorded |
"""
