"""The metrics of vlm, in addition to the worker loop's."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.runtime.telemetry import LATENCY_BUCKETS

JOBS = Counter("tidegate_vlm_jobs_total", "jobs that have ended, by kind and outcome", ["kind", "outcome"])
JOB = Histogram(
    "tidegate_vlm_job_seconds",
    "time from a job's storage in JetStream to its result",
    ["kind"],
    buckets=LATENCY_BUCKETS,
)
FIRST_TOKEN = Histogram(
    "tidegate_vlm_first_token_seconds", "time from a request to its first token", ["kind"], buckets=LATENCY_BUCKETS
)
TOKENS = Counter("tidegate_vlm_tokens_total", "tokens: in, of questions and images; out, of answers", ["direction"])
TOKENS_SAVED = Counter(
    "tidegate_static_scene_tokens_total", "tokens of captions that were repeated, as nothing has changed"
)
REQUESTS = Counter("tidegate_vlm_requests_total", "requests to the endpoint, by how they ended", ["outcome"])
UP = Gauge("tidegate_vlm_endpoint_up", "1 while the endpoint is well, 0 while it is left alone")
WAITING = Gauge("tidegate_vlm_requests_waiting", "requests that wait in vLLM, as vLLM says")
RUNNING = Gauge("tidegate_vlm_requests_running", "requests that vLLM works on, as vLLM says")
CACHE = Gauge("tidegate_vlm_cache_ratio", "share of vLLM's KV cache that is in use, as vLLM says")
RESTARTS = Counter("tidegate_vlm_server_restarts_total", "times that vLLM has ended and was started again")
PLANNED = Counter(
    "tidegate_vlm_captions_planned_total", "stretches of video that a caption was asked for, by outcome", ["outcome"]
)
ASK_REQUESTS = Counter("tidegate_vlm_queries_total", "requests on svc.ask, by kind and code", ["kind", "code"])
