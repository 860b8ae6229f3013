"""The worker loop, which cv, embed and vlm give three functions, and what it is made of.

| module | idea |
|---|---|
| `tuning`, `settings` | the numbers that tune the loop; what bounds it, from a service's own settings |
| `hold` | what is in hand: beats, acknowledgement, nak, burial; webhook and search use it too |
| `quarantine` | which message is next, and whether it is worked on alone; pure |
| `unreadable`, `readability` | of which cameras segments can't be read, and what is said and buried of it |
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
