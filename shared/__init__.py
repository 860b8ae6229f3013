"""What every Tidegate service uses, and nothing that only one of them does.

| module | idea |
|---|---|
| `names` | streams, consumers, subjects, buckets: the names other programs rely on |
| `topology` | the one declaration of all of them, and how `tidegate setup` applies it |
| `segment` | a video segment's headers, read and written |
| `media` | frames out of a segment's bytes |
| `events` | what services say, as structs with CloudEvents headers and JSON Schema |
| `cameras` | a camera's configuration in KV |
| `bus` | the connection: connect, publish until acknowledged |
| `puller` | a pull subscription with credit by count and by bytes |
| `worker` | the loop: pull, prepare, batch, infer, publish, acknowledge |
| `settings` | environment variables into frozen structs |
| `telemetry` | logs, metrics, health, traces |
"""
