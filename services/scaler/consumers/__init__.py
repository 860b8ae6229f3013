"""The state of consumers in JetStream, polled.

| module | idea |
|---|---|
| `listeners` | functions that are called after each reply |
| `counts` | what the replies count: the backlog, arrivals, and expiry before delivery; pure |
| `slots` | the time of a reader's next poll; pure |
| `readers` | one polls a consumer, one a stream |
| `combined` | the sum of several consumers, and the deferred segments of a service |
| `registry` | one reader for each consumer, however many queries use it |
"""
