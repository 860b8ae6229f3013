"""Incidents and alerts for review: the events of each, merged, and their evidence.

| module | idea |
|---|---|
| `reviews` | which incidents a person has reviewed |
| `incident_report` | the events of one incident, merged in any order |
| `index` | all incidents of the last days in memory, newest first, in pages |
| `filters` | filters of a request |
| `gaps`, `timeline` | when cameras were offline; counts of incidents by camera and time |
| `event_reader` | reads EVENTS backwards at the start, and follows it |
| `evidence` | the time around an incident: paths of its objects, and deferred parts |
| `state` | the running parts of the page |
| `answers`, `routes` | the API's answers |

Each module imports only those above it in this table. All but `reviews`,
`event_reader`, `evidence`, `state` and `routes` are pure.
"""
