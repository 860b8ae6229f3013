"""The state of the system: streams, dead letters, checks, versions, and the audit log.

| module | idea |
|---|---|
| `states` | streams and consumers, as a viewer and an admin may see them |
| `stream_pages` | pages of a stream, from its newest message back |
| `changes` | the audit log |
| `dead_letters` | dead letters |
| `versions` | the running versions |
| `findings`, `doctor` | the pure checks and their findings; all checks |
| `state` | the state of the page |
| `letter_routes`, `routes` | its routes |
"""
