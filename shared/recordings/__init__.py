"""Recorded files of a camera: their index by time, and their stores.

| module | idea |
|---|---|
| `records` | records of files, an index for each hour, and holes with their causes |
| `policy` | recording policies and their retention |
| `policies` | each camera's policy, from the bucket `recordings` |
| `windows` | the segments of a camera's next file |
| `ledger` | a camera's recording position, changed in one step |
| `streams` | which of a camera's two streams is recorded at each time |
| `files` | segments joined into files |
| `cutting`, `playing`, `thinning` | a file as its segments, as one video, or reduced to its keyframes |
| `marks`, `retention` | the times whose files stay; the files to remove |
| `queries` | requests to `svc.recording`, and their answers |
| `store`, `stores` | the interface of a store; a store in a folder, in a bucket, or encrypted |
| `library` | the index of each hour, read and updated in the store |
| `opening` | the store that a setting names |
"""
