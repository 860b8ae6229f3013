"""Alerts, and optionally incidents, as POSTs to an HTTP endpoint: signed, and retried until it accepts them.

| module | idea |
|---|---|
| `signature` | Standard Webhooks' signature |
| `outgoing` | a message as a request: CloudEvents' headers around the unchanged event |
| `formats` | the same for Slack and ntfy |
| `settings`, `metrics` | settings from the environment; exported metrics |
| `stored` | the endpoint that the site file declares |
| `start`, `status` | where it begins, recorded once; how the endpoint does, for `tidegate webhook status` |
| `endpoint` | one request, and the meaning of its response |
| `target` | an endpoint in use, with a breaker of its own |
| `delayed` | failed events, and how another endpoint gets them earlier |
| `sender` | events out of EVENTS, several in parallel; the outcome of each |

`signature`, `outgoing`, `formats`, `settings` and `metrics` are pure. See docs/how-to/webhook.md.
"""
