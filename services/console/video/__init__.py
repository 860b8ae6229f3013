"""A camera's video for browsers: pictures, clips and live. This process never decodes: children do.

| module | idea |
|---|---|
| `work` | what a decoding child is asked, and answers |
| `child` | the child: decodes one picture at a time, within limits |
| `decoding` | a few such children, and what waits for them |
| `reading` | segments out of MEDIA: the newest, one of a time, those of a stretch |
| `recorded` | what MEDIA has let go, as a recorder gives it |
| `keeping` | of which cameras there are recordings |
| `pictures` | a frame as JPEG, kept for a while |
| `clips` | a stretch as one MP4, sent without being held |
| `frames` | what a browser is sent of live video |
| `viewer` | one browser's live video: what it misses when it is slow |
| `live` | cameras that browsers watch: each is read once |
"""
