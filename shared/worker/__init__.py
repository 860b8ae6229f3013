"""The worker loop of cv, embed and vlm, and its parts. Each service supplies four functions.

| module | idea |
|---|---|
| `tuning`, `settings` | the loop's constants; its limits, from a service's own settings |
| `stopwatch` | seconds during which an activity runs |
| `in_flight`, `drain` | messages in flight: beats, acknowledgement, nak, dead letters; webhook and search use it too |
| `service` | the interface between a service and the loop |
| `counts`, `metrics` | what a worker has done, for its heartbeats; exported metrics |
| `extension` | the seam for what is optional |
| `scheduling` | the order in which Linux runs the threads of a worker |
| `batching`, `device`, `heartbeat` | batches by urgency and deadline; the device that computes them; the heartbeat |
| `loop` | the core: pull, prepare, batch, infer, publish, acknowledge, drain |
| `extensions` | the optional parts |
| `assembly` | the worker of a service: the loop with its extensions |
"""

from shared.worker.assembly import Worker
from shared.worker.service import AnsweredBefore, Message, Prepared, Service, result_id
from shared.worker.settings import WorkerSettings

__all__ = ["AnsweredBefore", "Message", "Prepared", "Service", "Worker", "WorkerSettings", "result_id"]
