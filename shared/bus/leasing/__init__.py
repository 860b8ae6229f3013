"""Exclusive work: each thing has one lease, an entry of a KV bucket, which its holder renews.

| module | idea |
|---|---|
| `entry`, `state` | a lease as its bucket holds it, and its state in one process; pure |
| `presence` | the processes that share leased things |
| `leases`, `partitions` | one lease a thing; cameras in leased partitions |
"""
