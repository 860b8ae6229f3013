"""What every Tidegate service uses, and nothing that only one of them does.

| folder | idea |
|---|---|
| `runtime` | a process: settings, logs, metrics, health, errors, tasks, children, locks, backoff, breaker |
| `contract` | what other programs rely on: names, streams, rights, events, jobs, headers, a camera's rules |
| `elastic` | how much of a segment is looked at while capacity is short, and what that costs |
| `bus` | NATS: connect, publish until acknowledged, pull, read, lease, ask and answer |
| `video` | frames out of segments, and pictures out of frames |
| `recordings` | what is kept of a camera: files that are found by time, and where they are |
| `client` | what is asked of a running system: cameras, rules, dead letters, tracks, who scales, moments, answers |
| `models` | what backends of models share |
| `service` | a service from its start to its exit |
| `worker` | what is in hand, and the loop: pull, prepare, batch, infer, publish, acknowledge |

Each folder imports only those above it in this table.
"""

from shared.runtime import lazy

# nats-py imports it for WebSockets alone, and it is half of what a command takes to start.
lazy.until_used("aiohttp")
