"""Workers' counters from a page in Prometheus' text format, if their heartbeats can't reach the scaler.

    page = MetricsPage("http://prometheus:9090/federate?match[]=tidegate_segments_out_total&match[]=…")
    page.heartbeats("cv").fleet(now)        # each series counts as a replica's heartbeat

A Prometheus server's `/federate` has the series of every replica; a worker's `/metrics` has its own alone.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

from services.scaler.live.heartbeats import Beat, Heartbeats
from shared.contract.work.stats import MOST_COUNT
from shared.runtime.pages.former_metrics import FORMER
from shared.runtime.redact import redact
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

EVERY_S = 5.0
TIMEOUT_S = 3.0
# A replica is gone once it is missing from three pages.
SILENCE_S = 15.0
MOST_BYTES = 16 * 1024 * 1024
# The time to parse a line is quadratic in its labels.
MOST_LINE = 16 * 1024

PROCESSED = "tidegate_segments_out_total"
WORKING = "tidegate_working_seconds_total"
# Of services with degradable work: without these, partially analysed messages count in full.
DEGRADABLE = {
    "tidegate_work_wanted_seconds_total": "wanted_s",
    "tidegate_work_seconds_total": "work_s",
    "tidegate_frames_wanted_total": "wanted",
    "tidegate_frames_analysed_total": "analysed",
    "tidegate_frames_never_analysed_total": "never",
}

log = logger("scaler")


def beats(text: str) -> dict[str, list[Beat]]:
    """Return each service's replicas: one per series of PROCESSED, named by its labels. Raises ValueError."""
    if max(map(len, text.split("\n"))) > MOST_LINE:
        raise ValueError(f"the page has a line of more than {MOST_LINE} characters: ask for the two metrics alone")
    values: dict[str, dict[tuple[str, str], float]] = {name: {} for name in (PROCESSED, WORKING, *DEGRADABLE)}
    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ArithmeticError as e:
        raise ValueError(f"the page has a number that is none: {e}") from e
    for sample in samples:
        name = FORMER.get(sample.name, sample.name)  # pages and queries of earlier releases
        if name in values and 0 <= sample.value <= MOST_COUNT and (service := sample.labels.get("service")):
            others = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "service")
            values[name][service, others] = sample.value
    found: dict[str, list[Beat]] = defaultdict(list)
    for (service, others), processed in values[PROCESSED].items():
        working_s = values[WORKING].get((service, others))
        if working_s is None:
            continue
        counters = {field: values[name].get((service, others), 0.0) for name, field in DEGRADABLE.items()}
        found[service].append(
            Beat(replica=others, pid=0, state="ready", processed=processed, working_s=working_s, **counters)
        )
    return found


class MetricsPage:
    """Reads a page every few seconds until it is closed. url: http or https, as `metadata` has checked."""

    def __init__(self, url: str) -> None:
        self.users = 0
        self._url = url
        self._heartbeats: dict[str, Heartbeats] = {}
        self._failed = False
        self._task = asyncio.create_task(self._run(), name="metrics page")

    def heartbeats(self, service: str) -> Heartbeats:
        if service not in self._heartbeats:
            self._heartbeats[service] = Heartbeats(SILENCE_S)
        return self._heartbeats[service]

    async def close(self) -> None:
        await end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                found = await asyncio.to_thread(lambda: beats(self._fetch()))
                problem = "" if found else f"it has no series of {PROCESSED} and {WORKING}"
            except (OSError, ValueError) as e:
                found, problem = {}, redact(str(e)) or type(e).__name__
            self._say(problem)
            now = time.monotonic()
            for service, seen in found.items():
                for beat in seen:
                    self.heartbeats(service).beat(beat, now)
            await asyncio.sleep(EVERY_S)

    def _fetch(self) -> str:
        with urllib.request.urlopen(self._url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http or https
            body: bytes = answer.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise ValueError(f"the page has more than {MOST_BYTES} bytes: ask for the two metrics alone")
        return body.decode()

    def _say(self, problem: str) -> None:
        """Log a problem once when it begins, and once when it ends."""
        if bool(problem) == self._failed:
            return
        self._failed = bool(problem)
        if problem:
            log.warning("workers' metrics can't be read: the lag rule applies", url=redact(self._url), error=problem)
        else:
            log.info("workers' metrics can be read again", url=redact(self._url))
