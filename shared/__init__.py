"""What every Tidegate service uses, and nothing that only one of them does.

| module | idea |
|---|---|
| `names`, `topology` | streams, consumers, subjects, buckets: what they are called, and how they are set up |
| `segment`, `media`, `gop` | a segment's headers; frames out of its bytes; its GOP's earlier segments |
| `events`, `jobs` | what services say, as structs with CloudEvents headers and JSON Schema; what vlm is asked to do |
| `cameras`, `mirror` | a camera's configuration in KV; a live copy of a bucket |
| `bus`, `puller`, `direct` | connect and publish until acknowledged; pull with credit by count and bytes; read one |
| `worker`, `batching` | the loop: pull, prepare, batch, infer, publish, acknowledge |
| `deadletters`, `stats` | what could not be processed; a worker's heartbeat |
| `settings`, `telemetry`, `redact` | environment variables; logs, metrics, health, traces; credentials out of text |
| `process`, `child`, `tasks`, `loading` | a service's process and its end; children; tasks; a model on its way |
"""
