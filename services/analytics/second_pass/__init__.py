"""A camera's second pass over deferred frames: publish only what the first pass did not find.

| module | idea |
|---|---|
| `versions` | an event and its revision |
| `state` | state of the passes to restore after a restart |
| `comparison` | live results against revised ones: incidents of one side only, minutes that differ |
| `late` | late incidents: they last, are verified and become alerts |
| `episode` | one pass: two copies of a camera in parallel |
| `passes` | a camera's passes, one after the other; those of a partition, attached as its `Extension` |
| `reading` | events with the best version of each, out of EVENTS |

Each module imports only those above it in this table. All but `passes`, which counts and logs, and `reading` are pure.
See docs/adr/0012-settled-pass.md.
"""
