"""Where something was seen: an index of vectors and labels over EVENTS, and the answers on `svc.find`.

| module | idea |
|---|---|
| `settings`, `metrics` | what is read from the environment; what is exported |
| `rows` | what the index keeps of an event, and what it finds |
| `chunk`, `index` | a stretch of time as one table; all of them, in a folder or an object store |
| `indexer` | the loop: events into the index |
| `words`, `moments` | the labels that a text names; hits into moments, two rankings into one |
| `clip` | a moment's video, and a picture of it |
| `answers` | `svc.find` and `svc.find.clip` |
"""

import os

# LanceDB writes a warning of its own for every table that is made. This must be set before it is imported.
os.environ.setdefault("LANCEDB_LOG", "error")
