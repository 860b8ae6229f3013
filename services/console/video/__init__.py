"""A camera's video for browsers: pictures, clips and live. Only child processes decode.

| module | idea |
|---|---|
| `reading` | segments from MEDIA: the newest, one at a time, those of a period |
| `recorder_video` | video that has left MEDIA, from a recorder |
| `pictures` | a frame as JPEG, cached |
| `clips` | a period as one MP4, streamed |
| `frames` | the messages of live video |
| `viewer` | one browser's live video, with drops for a slow one |
| `live` | watched cameras: each is read once |
| `state` | what the routes share |
| `responses`, `routes` | clips and pictures as HTTP responses; the routes |
"""
