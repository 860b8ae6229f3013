"""Stores of recordings, by the interface `shared.recordings.store.Store`.

| module | idea |
|---|---|
| `folder`, `bucket` | a store in a folder, or in a bucket |
| `keys`, `sealing`, `sealed` | encryption: its keys, one object, a whole store |
"""
