"""The interface for other programs: names, streams, rights, events, jobs, headers, a camera's entry and its rules.

Only `cameras`, `missing`, `entries`, `upgrade` and `topology` use JetStream; no other module does I/O.

| module | idea |
|---|---|
| `names` | streams, durables, buckets and subjects |
| `ids` | unpredictable message ids |
| `bounds`, `mistakes`, `schema` | limits of a message; every mistake in a value; JSON Schema |
| `missing`, `entries` | tells a missing message from an unreadable one; every entry of a bucket |
| `segment` | a segment's headers |
| `credentials`, `cameras` | a camera's settings and its credentials, as the buckets hold them |
| `geometry`, `handwritten`, `rules` | a camera's rules: their polygons, their file, and their meaning |
| `events` | one struct for each kind of event |
| `catalog` | every service in one record |
| `deadletters` | messages that could not be processed, in the stream DLQ |
| `jobs`, `backfill`, `reanalysis` | messages of workers' jobs: for a model, for deferred frames, for recorded video |
| `stats`, `usage` | a worker's heartbeat; arrivals and work by the minute |
| `runs` | the progress of runs over recordings |
| `explain`, `search`, `preview`, `whatif`, `look` | questions and answers: of services, and of child processes |
| `memory` | memory that nats-server needs for clients |
| `readers`, `identities`, `accounts` | rights on the server: of apps, of services; as nats-server's configuration |
| `upgrade`, `topology` | migration of an older store; the declaration of streams, consumers and buckets |
| `asyncapi` | the events as an AsyncAPI document |
"""
