"""Shares the cameras among all ingests: each has one lease, and hands over without a gap.

| module | idea |
|---|---|
| `wanted` | the cameras that the buckets name, with their credentials |
| `rotation` | decides which cameras have a place when more are wanted than there are places |
| `claims` | how many cameras this process claims, and which |
| `handover` | hands a running camera to another ingest without a gap |
| `running` | the cameras that run or stop in this process |
| `fleet` | runs the cameras that are wanted, enabled and leased |
| `shutdown` | hands the cameras over, or stores their video, before the process ends |
"""
