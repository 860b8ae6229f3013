"""The worker loop, which cv, embed and vlm give three functions."""

from shared.worker.loop import MB, Message, Prepared, Service, Worker, WorkerSettings

__all__ = ["MB", "Message", "Prepared", "Service", "Worker", "WorkerSettings"]
