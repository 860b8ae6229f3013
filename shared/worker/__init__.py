"""The worker loop of cv, embed and vlm, and its parts. Each service supplies three functions.

| module | idea |
|---|---|
| `tuning`, `settings` | the loop's constants; its limits, from a service's own settings |
| `in_flight` | messages in flight: beats, acknowledgement, nak, dead letters; webhook and search use it too |
| `quarantine` | which message is next, and whether it is processed alone; pure |
| `unreadable`, `stream_health` | cameras whose segments can't be read: their events and dead letters |
| `drain` | the shutdown of a process that has messages in flight |
| `service` | the interface between a service and the loop |
| `backfill` | work deferred while capacity is short, and backfilled while the worker is idle |
| `usage` | arrivals and the work they took, for `tidegate audit` |
| `stopwatch` | seconds during which an activity runs |
| `batching`, `device`, `heartbeat` | batches by urgency and deadline; the device that computes them; the heartbeat |
| `loop` | start up, work, drain |
"""

from shared.worker.loop import Worker
from shared.worker.service import AnsweredBefore, Message, Prepared, Service, result_id
from shared.worker.settings import MB, WorkerSettings

__all__ = ["MB", "AnsweredBefore", "Message", "Prepared", "Service", "Worker", "WorkerSettings", "result_id"]
