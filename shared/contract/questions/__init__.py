"""Questions and their answers: between services, and between a service and its child processes.

| module | idea |
|---|---|
| `explain` | why a service has so many replicas |
| `search` | moments that fit words, a picture or another moment |
| `preview` | what rules would have published of the past |
| `whatif` | the cost of other settings on past arrivals |
| `erasure` | the erasure of a camera, of the recorder and of search |
| `look` | one look at a camera |
"""
