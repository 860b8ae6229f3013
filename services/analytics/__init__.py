"""Turn detections into tracks, incidents, alerts and counts, by each camera's rules. CPU only.

    loop -> partitions -> camera -> tracking -> rules -> incidents
         -> second_pass: the same again, where frames were deferred

| module | idea |
|---|---|
| `metrics`, `limits`, `settings` | exported metrics; limits of analysis and memory; settings from the environment |
| `tracking` | objects followed over frames, zones entered and lines crossed, counts |
| `rules` | every camera's rules, and where one is true |
| `incidents` | incidents from true rules, and their verification |
| `camera` | all of one camera: its segments in order, its state, its results |
| `partitions` | shares of the cameras: checkpoints, leases, publishing |
| `idle` | waiting for the next event |
| `loop` | reads EVENTS, publishes results, checkpoints the position |
| `second_pass` | a camera's second pass, where frames were deferred |
| `extensions` | attaches the second pass, which is optional |
| `app` | wires the parts, and starts and stops them in order |
| `preview` | what rules would have reported of the past: a process that reads and writes lines |

Each imports only those above it in this table, or in the same row. `tracking`, `incidents` and `camera` are pure.
"""
