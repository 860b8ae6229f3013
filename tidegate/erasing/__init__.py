"""Erases what there is of a camera: from streams, buckets, recordings and the index of `find`.

| module | idea |
|---|---|
| `table` | every store: what it holds of a camera, and how an erasure reaches it |
| `scope` | the camera and the time range; what a message shows |
| `messages` | a stream's messages: found, and deleted so that the server overwrites them |
| `letters` | dead letters, by the camera of their messages |
| `entries` | entries of buckets |
| `answers` | what recorder and search erase on request |
| `stores` | each store's number and bytes, and their erasure |
| `passes` | one pass after another, until nothing comes any more |
| `log` | the entry in the audit log |
"""
