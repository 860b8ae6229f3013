"""Incidents and alerts as people look through them: what was said of each, put together, and the evidence of it.

| module | idea |
|---|---|
| `together` | what was said of one incident, in whatever order it is heard |
| `index` | all incidents of the last days in memory, newest first, in pages |
| `filters` | which of them somebody asks for |
| `gaps`, `timeline` | when cameras were offline; how many incidents there were, by camera and time |
| `reading` | EVENTS read backwards at the start, and followed |
| `evidence` | the time around an incident: where its objects were, and what was looked at less |
| `shown`, `routes` | what is answered |

Each module imports only those above it in this table. All but `reading` and `evidence` are pure.
"""
