"""Finds where something was seen: an index of vectors and labels over EVENTS, and the answers on `svc.find`.

| module | idea |
|---|---|
| `settings`, `metrics` | settings from the environment; exported metrics |
| `rows` | the rows that the index stores of an event, its hits, and a filter of rows |
| `lost` | unreadable tables, and an index that is gone |
| `chunk`, `tables` | a stretch of time as one table; all tables, in a folder or an object store |
| `index`, `retention` | rows into tables, and hits out of them; the limits of age and size |
| `indexer` | the loop: events into the index |
| `words`, `moments` | the labels that a text names; hits into moments, two rankings into one |
| `erasing` | `svc.find.erase`: a camera's rows, and their bytes |
| `clip` | a moment's video, and a picture of it |
| `answers` | `svc.find` and `svc.find.clip` |
"""

import os

# LanceDB logs a warning for every new table. This must be set before it is imported.
os.environ.setdefault("LANCEDB_LOG", "error")
