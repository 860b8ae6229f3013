"""The modules that every Tidegate service uses, and nothing that only one of them does.

| folder | idea |
|---|---|
| `runtime` | a process: settings, logs, metrics, health, errors, tasks, children, locks, backoff, breaker |
| `contract` | what other programs rely on: names, streams, rights, events, jobs, headers, a camera's rules |
| `elastic` | graceful degradation: how much of a segment is analysed while capacity is short, and what that costs |
| `bus` | NATS: connect, publish until acknowledged, pull, read, lease, ask and answer |
| `video` | frames out of segments, and pictures out of frames |
| `static_scene` | whether a small picture shows what an earlier one showed, and which answers of a model hold for it |
| `recordings` | recorded files of a camera: their index by time, and their stores |
| `client` | requests to a running system: cameras, rules, dead letters, tracks, explanations, moments, answers |
| `site` | the site file: its format, its changes, and a journal that makes all of them or none |
| `models` | code that backends of models share; measured models, and the active one |
| `service` | a service from its start to its exit |
| `worker` | the loop and its messages in flight: pull, prepare, batch, infer, publish, acknowledge |

Each folder imports only those above it in this table.
"""

from shared.runtime import lazy

# nats-py imports it only for WebSockets, and it takes half of a command's start.
lazy.until_used("aiohttp")
