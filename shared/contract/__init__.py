"""The interface for other programs: names, streams, rights, events, jobs, headers, a camera's entry and its rules.

Only `cameras`, `reading`, `upgrade` and `topology` use JetStream; no other module does I/O.

| module | idea |
|---|---|
| `names` | streams, durables, buckets and subjects |
| `ids` | unpredictable message ids |
| `memory` | memory that nats-server needs for clients |
| `reading` | what others write: limits, mistakes, missing messages, files by hand |
| `catalog` | every service in one record |
| `segment` | a segment's headers |
| `credentials`, `cameras` | a camera's settings and its credentials, as the buckets hold them |
| `endpoint` | the endpoint of alerts, as its bucket holds it |
| `differences` | the differences of two values, for people |
| `geometry`, `rules` | a camera's rules: their polygons, and their meaning |
| `events` | one struct for each kind of event |
| `pictures` | a message of PICTURES: an alert's picture, or why it has none |
| `deadletters` | messages that could not be processed, in the stream DLQ |
| `work` | workers' jobs: for a model, for deferred frames, for recorded video; their heartbeats and usage |
| `questions` | questions and answers: of services, and of child processes |
| `rights` | rights on the server: of apps, of services; as nats-server's configuration |
| `upgrade`, `topology` | migration of an older store; the declaration of streams, consumers and buckets |
| `asyncapi` | the events as an AsyncAPI document |
"""
