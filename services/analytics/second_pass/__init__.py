"""A camera's second pass, where frames were left out at first: what is found only then is said, and nothing else.

| module | idea |
|---|---|
| `versions` | an event and what takes its place |
| `state` | what a restart must find of the passes |
| `comparison` | what was said live beside what is so: incidents of one side alone, minutes that differ |
| `late` | incidents that were found late: they last, are verified and become alerts |
| `episode` | one pass: two copies of a camera side by side |
| `camera` | a camera's passes, one after the other |
| `passes` | the passes of a partition's cameras, and what becomes of one that fails |
| `reading` | events with the best version of each, out of EVENTS |

Each module imports only those above it in this table. All but `passes`, which counts and logs, and `reading` are pure.
See docs/adr/0012-settled-pass.md.
"""
