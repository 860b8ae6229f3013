"""What vlm exports beside the worker loop's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

JOBS = Counter("tidegate_vlm_jobs_total", "jobs ended, by kind and outcome", ["kind", "outcome"])
JOB = Histogram(
    "tidegate_vlm_job_seconds", "from a job's receipt by JetStream to its result", ["kind"], buckets=LATENCY_BUCKETS
)
FIRST_TOKEN = Histogram(
    "tidegate_vlm_first_token_seconds", "from a request to its first token", ["kind"], buckets=LATENCY_BUCKETS
)
TOKENS = Counter("tidegate_vlm_tokens_total", "tokens, in: of questions and images; out: of answers", ["direction"])
REQUESTS = Counter("tidegate_vlm_requests_total", "requests to the endpoint, by how they ended", ["outcome"])
UP = Gauge("tidegate_vlm_endpoint_up", "1 while the endpoint is worth asking")
WAITING = Gauge("tidegate_vlm_requests_waiting", "requests that wait in vLLM, by its own account")
RUNNING = Gauge("tidegate_vlm_requests_running", "requests that vLLM works on, by its own account")
CACHE = Gauge("tidegate_vlm_cache_ratio", "share of vLLM's KV cache in use, by its own account")
RESTARTS = Counter("tidegate_vlm_server_restarts_total", "times that vLLM ended and was started again")
PLANNED = Counter("tidegate_vlm_captions_planned_total", "stretches of video to be captioned", ["outcome"])
ASKED = Counter("tidegate_vlm_asked_total", "requests on svc.ask, by kind and code", ["kind", "code"])
