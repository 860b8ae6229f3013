"""What the console reaches: NATS by the rights of each role, buckets that it mirrors, and child processes.

| module | idea |
|---|---|
| `links` | a connection for each role |
| `subscriptions` | subscriptions that last as long as a block |
| `log_walk` | a walk through what a stream holds on a subject |
| `mirrored_bucket` | writes to a bucket that this process mirrors |
| `child` | another service's module as a child process |
"""
