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

The cursors of one pass:

    sequence in EVENTS    next ──▶ newest ──▶ position
    time of storage                last ──TAIL_S──▶ until ──SLACK_S──▶ complete, once `end` is later

- `next`: the pass has read all events before it. It stays behind `position`, up to which live analytics has read.
- `newest`: the last event with deferred frames that was read live, stored at `last`. Each further one moves `until`.
- `until`: the pass covers events stored until then. `end`: all of EVENTS is known until then.

Each module imports only those above it in this table. All but `passes`, which counts and logs, and `reading` are pure.
See docs/adr/0012-settled-pass.md.
"""
