"""Whether anything grows: six cameras and every service for hours, sampled once a minute.

    python -m bench.soak [hours]            # prints a line a minute, then a slope each
    python -m bench.soak FILE.jsonl         # the slopes of a recorded run

`tidegate up` runs with all its options. Next to it run the external scaler, a subscriber, and a user who asks,
searches, and adds and removes a seventh camera, because objects of the six keep their place. The language model is a
stub that answers immediately. Retention is minutes, except of jobs and leases, so all sizes are stable after WARM_S.

Samples are per process: resident memory, descriptors, threads, and series of its metrics. A process that did not live
all the time has no slope. Then the store, and the lag of each consumer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import nats.errors
import psutil
from aiohttp import web
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import record
from bench.slopes import Slope, slope
from shared.client import registry
from shared.contract import catalog, names
from shared.contract.cameras import new_camera
from shared.contract.memory import MB
from shared.runtime import child
from shared.runtime.errors import BusError
from tests.support.servers.openai_server import OpenAiServer, respond
from tidegate.demo import footage
from tidegate.demo.bank import Bank
from tidegate.local import running

CAMERAS, GUEST = 6, "guest"
EVERY_S = 60.0
WARM_S = 20 * 60.0
READY_S = 120.0
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "analytics.png"
FOUND = record.FOLDER / "soak.jsonl"
OPTIONS = ("--search", "--analytics", "--vlm", "--record")
# Retention of minutes bounds the store. One picture a second leaves the cores some idle time.
SETTINGS = {
    "CV_FPS": "1",
    "MEDIA_MAX_AGE_S": "300",
    "EVENTS_MAX_BYTES": "8000000",
    "SEARCH_MAX_AGE_S": "300",
    "SEARCH_TIDY_S": "60",
    "SEARCH_CACHE_MB": "16",
    "VLM_CAPTION_EVERY_S": "20",
    "WEBHOOK_EVENTS": "alerts,incidents",
}
RULES = """
rules:
  - {id: seen, kind: enter, zone: all, alert: start}
  - {id: waits, kind: loitering, zone: all, seconds: 3, verify: "It waits."}
  - {id: few, kind: count, over: 1, zone: all, verify: "Several are there."}
  - {id: gate, kind: crossing, line: middle, direction: both}
zones:
  all: {polygon: [[0, 0], [1, 0], [1, 1], [0, 1]]}
lines:
  middle: {from: [0.5, 1], to: [0.5, 0]}
"""


class Process(msgspec.Struct, frozen=True):
    """One process at one time. series: of its metrics; None without metrics."""

    pid: int
    memory_mb: float
    descriptors: int
    threads: int
    series: int | None


class Sample(msgspec.Struct, frozen=True):
    """All processes and stores at one time. at_s: since the start. behind: each consumer's unprocessed messages."""

    at_s: float
    processes: dict[str, Process]
    store_mb: float
    index_mb: float
    behind: dict[str, int]
    events: int
    alerts: int


async def main(hours: float, out: Console) -> list[Sample]:
    """Run for `hours`; print a line a minute, and append each sample to FOUND."""
    samples: list[Sample] = []
    FOUND.parent.mkdir(exist_ok=True)
    FOUND.write_bytes(b"")
    async with site() as (folder, admin, alerts, guest):
        people = asyncio.create_task(_people(folder / "data", guest, out))
        began, polls = time.monotonic(), 0
        while (now := time.monotonic() - began) < hours * 3600 + EVERY_S / 2:
            polls += 1
            if people.done():
                people.result()
            try:
                sample = await take_sample(folder, admin, now, len(alerts))
            except (TimeoutError, nats.errors.Error) as e:
                out.print(f"{now / 60:>4.0f} min  not looked at: {e!r}", highlight=False)
            else:
                samples.append(sample)
                with FOUND.open("ab") as file:
                    file.write(msgspec.json.encode(sample) + b"\n")
                out.print(_line(sample), soft_wrap=True, highlight=False)
            await asyncio.sleep(max(0.0, began + polls * EVERY_S - time.monotonic()))
        people.cancel()
    return samples


class Site(NamedTuple):
    """A running site. alerts: arrival times at the endpoint. guest: URL of the seventh camera, which has rules."""

    folder: Path
    admin: Client
    alerts: list[float]
    guest: str


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """Run `tidegate up` with all its options, cameras, and a receiver of alerts."""
    videos = footage.embedded()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-soak-"))
    alerts: list[float] = []
    async with contextlib.AsyncExitStack() as opened:
        opened.callback(shutil.rmtree, folder, ignore_errors=True)
        files = [videos[n % len(videos)] for n in range(CAMERAS)]
        bank = await opened.enter_async_context(Bank(list(dict.fromkeys(files)), folder))
        model = await opened.enter_async_context(OpenAiServer(then=_answered))
        hook = await opened.enter_async_context(_receiver(alerts))
        data = folder / "data"
        env = {"WEBHOOK_URL": hook, "VLM_URL": model.url, **SETTINGS}
        _start(opened, folder, "up", "tidegate", "up", "--plain", "--port", "0", "--data", str(data), *OPTIONS, **env)
        admin = await _connected(data)
        opened.push_async_callback(admin.close)
        reach = msgspec.json.decode((data / "run.json").read_bytes(), type=running.Running)
        secret = str(data / "secrets" / "scaler")
        scaler = {"NATS_URL": reach.url, "NATS_USER": "scaler", "NATS_PASSWORD_FILE": secret}
        scaler |= {"METRICS_TARGETS": str(data / "metrics"), "REPLICA": "scaler-0"}
        scaler |= {"SCALER_PORT": "0", "SCALER_HTTP_PORT": "0"}
        _start(opened, folder, "scaler", "services.scaler", **scaler)
        _start(opened, folder, "watch", "tidegate", "watch", "--json", "--data", str(data))
        (folder / "rules.yaml").write_text(RULES)
        for n, file in enumerate(files):
            await registry.put(admin.jetstream(), f"cam-{n}", *new_camera(bank.url(file.name), always=True))
            await _tidegate(data, "rules", "set", f"cam-{n}", str(folder / "rules.yaml"))
        await _tidegate(data, "rules", "set", GUEST, str(folder / "rules.yaml"), "--force")
        yield Site(folder, admin, alerts, bank.url(files[0].name))


def _start(
    opened: contextlib.AsyncExitStack, folder: Path, name: str, module: str, *arguments: str, **env: str
) -> None:
    """Start a process that exits gracefully with the site."""
    process = child.spawn(child.python(module, *arguments), log=folder / f"{name}.log", env={**os.environ, **env})

    async def end() -> None:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 60)
        finally:
            process.kill()

    opened.push_async_callback(end)


async def _connected(data: Path) -> Client:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            return await running.connect(data)
        except BusError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def _tidegate(data: Path, *arguments: str) -> None:
    """Run a command without its output. Raises BusError if it fails."""
    command = child.python("tidegate", *arguments, "--data", str(data))
    pipes = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.PIPE}
    done = await asyncio.create_subprocess_exec(*command, **pipes)
    _, stderr = await done.communicate()
    if done.returncode:
        raise BusError(f"tidegate {arguments[0]}: {stderr.decode(errors='replace')[-500:]}")


async def _people(data: Path, guest: str, out: Console) -> None:
    """Act as a user meanwhile. A refused command is printed and does not end the run."""
    commands: list[tuple[str, ...] | float] = [
        ("camera", "add", GUEST, guest),
        ("find", "--label", "person"),
        ("find", "--image", str(PICTURE)),
        EVERY_S / 4,
        ("ask", "what happens?", "--camera", GUEST),
        ("camera", "remove", GUEST),
        EVERY_S / 4,
    ]
    for command in itertools.cycle(commands):
        if isinstance(command, float):
            await asyncio.sleep(command)
            continue
        try:
            await _tidegate(data, *command)
        except BusError as e:
            out.print(f"          {e}", highlight=False)


async def _answered(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Answer with the minimum that the request's schema allows; a caption has no schema."""
    if "response_format" not in body:
        return await respond(request, "A person is there.")
    schema = body["response_format"]["json_schema"]["schema"]
    filled = {name: _filled(of) for name, of in schema["properties"].items()}
    return await respond(request, msgspec.json.encode(filled).decode())


def _filled(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    return {"integer": 1, "number": 1, "array": [], "boolean": True}.get(schema.get("type", ""), "A person is there.")


@contextlib.asynccontextmanager
async def _receiver(alerts: list[float]) -> AsyncIterator[str]:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        alerts.append(time.time())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def take_sample(folder: Path, admin: Client, at_s: float, alerts: int) -> Sample:
    """Return a sample of all processes and stores."""
    js = admin.jetstream()
    data = folder / "data"
    behind = {}
    for consumer in (c for s in catalog.services() for c in s.consumers if not c.when):
        info = await js.consumer_info(consumer.stream, consumer.name)
        behind[f"{consumer.stream}/{consumer.name}"] = (info.num_pending or 0) + (info.num_ack_pending or 0)
    series = await asyncio.to_thread(_series, data / "metrics")
    return Sample(
        at_s=at_s,
        processes=dict(sorted(_processes(series))),
        store_mb=_size(data / "jetstream"),
        index_mb=_size(data / "index"),
        behind=behind,
        events=(await js.stream_info(names.EVENTS)).state.last_seq,
        alerts=alerts,
    )


def _processes(series: Mapping[str, int]) -> Iterable[tuple[str, Process]]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            name = _name(process)
            if name:
                found = Process(
                    process.pid,
                    process.memory_info().rss / MB,
                    process.num_fds(),
                    process.num_threads(),
                    series.get(name),
                )
                yield name, found


def _name(process: psutil.Process) -> str:
    """Return the name of its replica; empty for a process that is not the product's, such as the cameras."""
    command = process.cmdline()
    # An exiting process has no command line.
    if not command:
        return ""
    if Path(command[0]).name == "nats-server":
        return "nats-server"
    module, *arguments = command[command.index("-m") + 1 :] if "-m" in command else [""]
    if module.startswith("services."):
        return process.environ().get("REPLICA", module)
    return arguments[0] if module == "tidegate" and arguments[0] in ("up", "watch") else ""


def _series(targets: Path) -> dict[str, int]:
    """Return the number of series of each process, by replica."""
    found = {}
    for file in targets.glob("*.json"):
        with contextlib.suppress(OSError, msgspec.DecodeError, KeyError, IndexError):
            (target,) = msgspec.json.decode(file.read_bytes())
            with urllib.request.urlopen(f"http://{target['targets'][0]}/metrics", timeout=10) as answer:
                lines = answer.read().splitlines()
            found[file.stem] = sum(1 for line in lines if line and not line.startswith(b"#"))
    return found


def _size(folder: Path) -> float:
    """Return MB on disk. Files may disappear meanwhile."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_blocks * 512
    return total / MB


def _line(sample: Sample) -> str:
    memory = " ".join(f"{name} {p.memory_mb:.0f}" for name, p in sample.processes.items())
    all_of = list(sample.processes.values())
    return (
        f"{sample.at_s / 60:>4.0f} min  MB: {memory}  store {sample.store_mb:.0f} index {sample.index_mb:.0f}  "
        f"descriptors {sum(p.descriptors for p in all_of)}  threads {sum(p.threads for p in all_of)}  "
        f"series {sum(p.series or 0 for p in all_of)}  behind {sum(sample.behind.values())}  events {sample.events}  "
        f"alerts {sample.alerts}"
    )


# ---- the report


class Row(msgspec.Struct, frozen=True):
    """One value over time. first, last: of the samples after warming up. slope: None with too few samples."""

    what: str
    unit: str
    first: float
    last: float
    slope: Slope | None


def rows(samples: list[Sample], confidence: float = 0.95) -> list[Row]:
    """Return a row for each value that could grow, from samples after WARM_S."""
    warm = [s for s in samples if s.at_s >= WARM_S] or samples
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for sample in warm:
        for name, p in sample.processes.items():
            values[name, "MB"].append(p.memory_mb)
            values[name, "descriptors"].append(p.descriptors)
            values[name, "threads"].append(p.threads)
            if p.series is not None:
                values[name, "series"].append(p.series)
        values["store", "MB"].append(sample.store_mb)
        values["index", "MB"].append(sample.index_mb)
        for consumer, n in sample.behind.items():
            values[consumer, "behind"].append(n)
    lived = {
        n for n, p in warm[0].processes.items() if all(n in s.processes and s.processes[n].pid == p.pid for s in warm)
    }
    times = [s.at_s for s in warm]
    every = {n for s in warm for n in s.processes}
    return [
        Row(what, unit, found[0], found[-1], slope(times, found, confidence))
        for (what, unit), found in values.items()
        if (what in lived or what not in every) and len(found) == len(times)
    ]


def report(samples: list[Sample], out: Console) -> bool:
    """Print the slopes. Return whether none grows.

    Among many slopes some seem to grow by chance. So growth must exceed a wider interval, with which one run of twenty
    has a false alarm.
    """
    found = rows(samples)
    strict = {(r.what, r.unit): r.slope for r in rows(samples, 1 - 0.05 / max(1, len(found)))}
    table = Table("what", "", "first", "last", "slope an hour", "error", "holds zero")
    for row in found:
        sure = strict[row.what, row.unit]
        if row.slope is None or sure is None:
            shown = ("-", "-", "-")
        else:
            holds = "yes" if row.slope.holds_zero else "by chance" if sure.holds_zero else "NO"
            shown = (f"{row.slope.per_hour:+.2f}", f"± {row.slope.error:.2f}", holds)
        table.add_row(row.what, row.unit, f"{row.first:.1f}", f"{row.last:.1f}", *shown)
    out.print(table)
    partial = sorted({n for s in samples if s.at_s >= WARM_S for n in s.processes} - {row.what for row in found})
    if partial:
        out.print(f"not there all the time, and so without a slope: {', '.join(partial)}")
    judged = [s for s in strict.values() if s]
    if not judged:
        out.print(f"nothing is judged: {WARM_S / 60:.0f} minutes of warming up are left out, and 40 more are the least")
    # Workers scale with the load; all others must stay.
    steady = [n for n in partial if not any(n.startswith(f"{s.name}-") and s.scaled_object for s in catalog.services())]
    return bool(judged) and not steady and not any(s.grows for s in judged)


if __name__ == "__main__":
    console = Console(width=110)
    argument = sys.argv[1] if len(sys.argv) > 1 else "2"
    if argument.endswith(".jsonl"):
        taken = [msgspec.json.decode(line, type=Sample) for line in Path(argument).read_bytes().splitlines()]
    else:
        taken = asyncio.run(main(float(argument), console))
    sys.exit(0 if report(taken, console) else 1)
