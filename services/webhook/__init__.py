"""Alerts, and incidents where asked for, as POSTs to an HTTP endpoint: signed, and tried again until it takes them.

| module | idea |
|---|---|
| `sender` | events out of EVENTS, several at once; what becomes of each |
| `outgoing` | a message into a request: CloudEvents' headers around the event as it is |
| `signature` | Standard Webhooks' signature |
| `endpoint` | one request, and what its answer means |

All but `sender` and `endpoint` are pure. See docs/how-to/webhook.md.
"""
