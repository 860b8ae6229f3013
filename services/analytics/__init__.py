"""Turn detections into tracks, incidents, alerts and counts, by each camera's rules. CPU only.

    shared log EVENTS -> service -> partition -> camera: order -> following -> places -> conditions -> incidents
                                                                                      -> counts
                           service -> second_pass: the same again, where frames were deferred

| module | idea |
|---|---|
| `objects`, `tracker` | a followed object; which objects of a frame match those of the frames before |
| `places`, `conditions` | zones entered and lines crossed; where a rule is true |
| `incidents`, `counts` | incidents from true rules; a minute's numbers |
| `order` | a camera's segments put back in order |
| `budget`, `published_ids` | limits of memory and checkpoints; ids published since the checkpoint |
| `state`, `statements`, `following` | what a restart must find; what is published, under its id; followed objects |
| `camera` | all of one camera |
| `metrics`, `settings` | exported metrics; settings from the environment |
| `reading` | verdicts, and how far the log reaches |
| `second_pass` | a camera's second pass, where frames were deferred |
| `partition` | a fixed share of all cameras |
| `rulebook`, `checkpoint` | every camera's rules from KV; state to remember, in KV |
| `sharing` | which partitions this process has |
| `publisher` | publish events, verification requests and dead letters |
| `service` | the loop |
| `preview` | what rules would have reported of the past: a process that reads and writes lines |

A camera's rules are `shared/contract/rules.py`: others check and store them too.

Each module imports only those above it in this table, or in the same row. `camera` and all it uses are pure. See
docs/how-to/rules.md.
"""
