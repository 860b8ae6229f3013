"""One file with what an installation needs on another machine, and its return from there.

| module | idea |
|---|---|
| `scope` | which buckets, streams and files are in a backup, and why the others are not |
| `records` | what a file holds: values, without I/O |
| `format` | how a file holds it: frames that are encrypted, checked and counted |
| `entries` | whether an entry of a bucket is valid; what of it remains without passwords |
| `buckets` | entries of buckets, consistent though others change them |
| `streams` | messages of streams, there and back |
| `folder` | files of a data directory, there and back |
| `contents` | a file's contents, checked before anything is changed |
| `taking` | a backup from its start to its name |
| `restoring` | the way back, on a server and on a data directory |
"""
