"""One picture with each alert, stored in PICTURES for longer than MEDIA has its video.

| module | idea |
|---|---|
| `settings`, `metrics` | settings from the environment; exported metrics |
| `frame` | the segment of an alert's frame, with what it is decoded from, and the same of the main stream |
| `storing` | an alert into the message of PICTURES |
| `keeper` | alerts out of EVENTS, several in parallel; the outcome of each |

See docs/how-to/pictures.md.
"""
