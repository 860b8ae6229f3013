"""Alerts, and optionally incidents, as POSTs to an HTTP endpoint: signed, and retried until it accepts them.

| module | idea |
|---|---|
| `sender` | events out of EVENTS, several in parallel; the outcome of each |
| `outgoing` | a message as a request: CloudEvents' headers around the unchanged event |
| `signature` | Standard Webhooks' signature |
| `endpoint` | one request, and the meaning of its response |

All but `sender` and `endpoint` are pure. See docs/how-to/webhook.md.
"""
