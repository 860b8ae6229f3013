"""Detections into what operators act on: tracks, incidents, alerts and counts, by each camera's rules. CPU alone.

    shared log EVENTS -> service -> partition -> camera: order -> following -> places -> conditions -> incidents
                                                                                      -> counts
                           service -> settled: the same once more, where frames were left out

| module | idea |
|---|---|
| `objects`, `tracker` | an object that is followed; which objects of one frame are those of the frames before |
| `places`, `conditions` | zones entered and lines crossed; where a rule is true |
| `incidents`, `counts` | what is true into incidents; a minute's numbers |
| `order` | a camera's segments put back in order |
| `state`, `statements`, `following` | what a restart must find; what is said, under its id; objects told apart |
| `camera` | all of one camera |
| `metrics`, `settings` | what is exported; what is read from the environment |
| `reading` | verdicts, and how far the log reaches |
| `second_pass` | a camera's second pass, where frames were left out |
| `partition` | a fixed share of all cameras |
| `rulebook`, `checkpoint` | every camera's rules as KV has them; what must not be forgotten, in KV |
| `sharing` | which partitions this process has |
| `publisher` | events, questions and dead letters, published |
| `service` | the loop |
| `preview` | what rules would have told of the past: a process that reads and writes lines |

A camera's rules are `shared/contract/rules.py`: others check and store them too.

Each module imports only those above it in this table, or beside it. `camera` and all it uses are pure. See
docs/how-to/rules.md.
"""
