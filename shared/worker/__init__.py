"""The worker loop, which cv, embed and vlm give three functions, and what it is made of.

| module | idea |
|---|---|
| `tuning`, `settings` | the numbers that tune the loop; what bounds it, from a service's own settings |
| `in_flight` | messages in flight: beats, acknowledgement, nak, dead letters; webhook and search use it too |
| `quarantine` | which message is next, and whether it is worked on alone; pure |
| `unreadable`, `stream_health` | the cameras whose segments can't be read, and their events and dead letters |
| `drain` | the end of a process that has something in hand |
| `service` | what a service gives the loop |
| `backfill` | what is put off while capacity is short, and made good while there is nothing else to do |
| `usage` | what arrived and the work that it was, for `tidegate audit` |
| `stopwatch` | seconds during which something goes on |
| `batching`, `device`, `heartbeat` | batches by urgency and deadline; what computes them; what is told of it |
| `loop` | start up, work, drain |
"""

from shared.worker.loop import Worker
from shared.worker.service import AnsweredBefore, Message, Prepared, Service, result_id
from shared.worker.settings import MB, WorkerSettings

__all__ = ["MB", "AnsweredBefore", "Message", "Prepared", "Service", "Worker", "WorkerSettings", "result_id"]
