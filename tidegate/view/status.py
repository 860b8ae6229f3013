"""The state of the system in one reading, and what is wrong with it: cameras, services, streams, disk.

    status = await read(client, data)          # data: of a local stack; None for a server elsewhere
    status.wrong                               # the worst first, with remedies

It only reads: no consumer is created, and of video only headers are heard. What the user may not read is left out.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from services.console.cameras.state_tracker import CameraReport, CameraStateTracker
from services.console.now.bus_monitor import BusMonitor
from services.console.now.model import ServiceNow
from services.console.now.polling import Polling
from services.console.now.reasons import reason
from services.console.system import findings, states, versions
from services.console.system.findings import Finding, bad, warn
from services.console.system.states import StreamState
from shared.bus import direct, infos
from shared.bus.client import Connection, Denied
from shared.bus.log import Log
from shared.client import explain, registry
from shared.contract import cameras as contract
from shared.contract import catalog, names, segment, topology
from shared.contract.cameras import Camera
from shared.contract.memory import GB, MAX_PAYLOAD
from shared.contract.segment import Segment
from shared.contract.work import stats
from shared.runtime.errors import BadSegment, BusError, SettingError, TidegateError
from shared.runtime.plain import plain
from shared.runtime.problems import Problem
from shared.site import journal
from shared.site.journal import Lock
from tidegate.local import problems as local_problems

# Heartbeats come each second, and segments about each second.
LISTEN_S = 2.5
# Video that is older than this is late: a camera's keyframes may be some seconds apart.
SILENT_S = 20.0
# Cameras whose last segment is fetched, as none was heard.
MOST_LOOKUPS = 16
# nats-server stops storing at a full disk.
LEAST_FREE, LITTLE_FREE = 2 * MAX_PAYLOAD, 2 * GB
# Services that `tidegate up` always starts: their absence is shown.
_ALWAYS = ("ingest", "cv")
_RANKS = ("bad", "warn", "ok")
_BEATS, _SEGMENTS = names.stats("*", "*"), names.stored(names.media(">"))
_HEARD = {_BEATS: "heartbeats", _SEGMENTS: "video"}

Level = Literal["ok", "warn", "bad", "unreachable"]
T = TypeVar("T")


class CameraRow(msgspec.Struct, frozen=True, kw_only=True):
    """state, reason: as in `tidegate camera list`; since: of its last report. fps: arriving now. silent_s: since the
    end of its newest video. None: unknown.
    """

    camera: str
    state: str
    reason: str = ""
    since: dt.datetime | None = None
    codec: str = ""
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    silent_s: float | None = None


class ServiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """wanted, running, ready: replicas. pending, in_flight: messages. oldest_s: how long the oldest has waited. None:
    unknown. problems: of its processes. why: the number of wanted replicas, in words.
    """

    service: str
    state: str
    wanted: float | None = None
    running: int | None = None
    ready: int | None = None
    pending: int | None = None
    in_flight: int | None = None
    oldest_s: float | None = None
    problems: list[str] = []
    why: str = ""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream stores, against its limits. None: no limit."""

    stream: str
    messages: int
    bytes: int
    max_bytes: int | None = None
    share_full: float | None = None


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    folder: str
    free: int
    total: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """level: the worst of `wrong`. wrong: the worst first. left_out: what this user may not read. dead_letters: None:
    unknown. disk: of the data directory of a local stack.
    """

    level: Level
    server: str
    wrong: list[Finding] = []
    left_out: list[str] = []
    cameras: list[CameraRow] = []
    services: list[ServiceRow] = []
    room: list[Room] = []
    dead_letters: int | None = None
    disk: Disk | None = None


def unreachable(where: str, error: str) -> Status:
    """Return the status of a server that does not answer."""
    return Status(level="unreachable", server=where, wrong=[bad("the server", error, "tidegate doctor")])


async def read(client: Connection, data: Path | None) -> Status:
    """Return the status. Raises BusError if the server is lost meanwhile."""
    reading = _Reading(client, data)
    found = await reading.run()
    if not client.is_connected:
        raise BusError("the server was lost during the reading")
    return found


class _Reading:
    """One reading, and what it has heard: the last segment and heartbeat of each."""

    def __init__(self, client: Connection, data: Path | None) -> None:
        self._client = client
        self._bus = BusMonitor(time.monotonic())
        self._heads: dict[str, list[Segment]] = {}
        self._waits: dict[tuple[str, str], str] = {}
        self._left_out: dict[str, None] = {}
        self._disk = _disk(data)
        self._problems = local_problems.read(data) if data else []
        self._processes = _processes(data) if data else None
        self._now = dt.datetime.now(dt.UTC)

    async def run(self) -> Status:
        client = self._client
        client.forgo(_BEATS, _SEGMENTS)
        await client.subscribe(_BEATS, cb=self._beat)
        await client.subscribe(_SEGMENTS, cb=self._segment)
        listening = asyncio.create_task(asyncio.sleep(LISTEN_S))
        streams, entries, running, _, lock = await asyncio.gather(
            self._streams(), self._entries(), versions.versions(client, []), self._reasons(), self._lock()
        )
        await listening
        self._left_out |= {f"this user may not hear {text}": None for s, text in _HEARD.items() if s in client.forgone}
        if streams:
            await Polling(client, self._bus).poll()
        self._now = dt.datetime.now(dt.UTC)
        cameras, camera_findings = await self._cameras(entries)
        services = self._services(Counter(one.service for one in running.services))
        wrong = [
            *findings.processes(self._problems),
            *self._waiting(),
            *_room(self._disk),
            *_of_streams(streams, self._now),
            *await self._buckets(streams),
            *await self._interrupted(lock),
            *camera_findings,
        ]
        wrong += [f for s in self._late_services() if (f := _late(s, wrong))]
        wrong = [f for f in wrong if f.level != "ok"]
        wrong.sort(key=lambda f: (_RANKS.index(f.level), f.camera is not None))
        return Status(
            level=wrong[0].level if wrong else "ok",
            server=plain(client.connected_url.netloc.rpartition("@")[2] if client.connected_url else ""),
            wrong=wrong,
            left_out=list(self._left_out),
            cameras=cameras,
            services=services,
            room=[_room_of(s) for s in streams if not s.error],
            dead_letters=next((s.messages for s in streams if s.name == names.DLQ and not s.error), None),
            disk=self._disk,
        )

    async def _beat(self, message: Msg) -> None:
        self._bus.beat(message.subject, message.data, time.monotonic(), self._now)
        with suppress(msgspec.DecodeError, ValueError):
            _, service, replica = message.subject.split(".", 2)
            self._waits[service, replica] = stats.decode(message.data).reason

    async def _segment(self, message: Msg) -> None:
        subject = message.subject.removeprefix("stored.")
        self._bus.segment(subject, message.headers, time.monotonic())
        with suppress(BadSegment):
            self._heads.setdefault(subject.rpartition(".")[2], []).append(
                segment.from_message(subject, message.headers)
            )

    async def _if_allowed(self, work: Awaitable[T]) -> T | None:
        """Return the result; None if this user may not read it."""
        try:
            return await work
        except Denied as e:
            self._left_out[str(e)] = None
            return None

    async def _streams(self) -> list[StreamState]:
        wanted = (*states.STREAMS, *states.OF_ADMIN)
        found = await asyncio.gather(*(states.state(self._client, n) for n in wanted), return_exceptions=True)
        denied = [(name, str(e)) for name, e in zip(wanted, found, strict=True) if isinstance(e, Denied)]
        if denied:
            name, text = denied[0]
            self._left_out[text.replace(f"stream {name}", f"streams {', '.join(n for n, _ in denied)}")] = None
        return [state for state in found if isinstance(state, StreamState)]

    async def _buckets(self, streams: Sequence[StreamState]) -> list[Finding]:
        """Check that buckets exist, unless nothing does."""
        if all(s.error for s in streams):
            return []
        wanted = (str(bucket) for bucket in topology.buckets(topology.TopologySettings()))
        return [f for f in await asyncio.gather(*map(self._bucket, wanted)) if f]

    async def _bucket(self, name: str) -> Finding | None:
        try:
            await infos.stream(self._client, f"KV_{name}")
        except infos.Missing:
            return findings.bucket(name, False)
        except BusError:
            return None
        return None

    async def _lock(self) -> Lock | None:
        """Return the lock of an apply; None if there is none, or if this user may not read it."""
        try:
            return await journal.pending(self._client.jetstream())
        except (TimeoutError, nats.errors.Error, APIError, BusError):
            return None  # the finding on its bucket, or on the streams, tells why

    async def _interrupted(self, before: Lock | None) -> list[Finding]:
        """Report an apply of a site file that did nothing since `before`. A running one ends, or renews its lock."""
        if before is None or before.phase != "committed" or await self._lock() != before:
            return []
        remedy = "complete it: tidegate apply -f FILE, with the same file or another"
        return [findings.bad("site file", f"the changes of {before.by} were interrupted", remedy)]

    async def _entries(self) -> dict[str, Camera | str] | None:
        """Return each camera, or why its entry is unusable; None if this user may not read them."""
        stream, prefix = f"KV_{names.CAMERAS}", f"$KV.{names.CAMERAS}."
        try:
            if not await self._if_allowed(infos.stream(self._client, stream)):
                return None
            async with Log(self._client, stream) as log:
                stored = await log.all(f"{prefix}>")
        except (TimeoutError, nats.errors.Error, APIError, BusError):
            return {}  # the finding on its bucket, or on the streams, tells why
        found: dict[str, Camera | str] = {}
        for message in stored:
            id = message.subject.removeprefix(prefix)
            found.pop(id, None)
            if names.is_removed(id) or message.headers.get("KV-Operation") in ("DEL", "PURGE"):
                continue
            try:
                found[id] = contract.decode(message.data)
            except SettingError as e:
                found[id] = f"{e}: 'tidegate camera remove {id}', then add it again"
        return found

    async def _cameras(self, entries: Mapping[str, Camera | str] | None) -> tuple[list[CameraRow], list[Finding]]:
        if not entries:
            return [], []
        enabled = sorted(id for id, entry in entries.items() if isinstance(entry, Camera) and entry.enabled)
        try:
            statuses, videos = await registry.last_statuses(self._client, enabled)
        except (TimeoutError, nats.errors.Error, APIError, BusError):
            statuses, videos = {}, {}
        rows = []
        for id, entry in sorted(entries.items()):
            tracker = CameraStateTracker()
            if id in statuses:
                tracker.add_status(statuses[id])
            if id in videos:
                tracker.add_status(videos[id])
            enabled_now = isinstance(entry, Camera) and entry.enabled
            report = (
                CameraReport("unusable", entry) if isinstance(entry, str) else tracker.report(enabled_now, self._now)
            )
            rows.append(self._camera(id, report, tracker))
        rows = await self._with_silence(rows)
        found = findings.cameras(enabled, statuses, videos, self._now)
        found += [bad(f"camera {r.camera}", r.reason, "", r.camera) for r in rows if r.state == "unusable"]
        return rows, [*found, *_silent(rows, any(self._heads.values()))]

    def _camera(self, id: str, report: CameraReport, tracker: CameraStateTracker) -> CameraRow:
        heads = self._heads.get(id, [])
        for head in heads:
            tracker.add_segment(head, 0.0)
        now = tracker.now(id, report, 0.0)
        seconds = sum(head.duration for head in heads)
        return CameraRow(
            camera=id,
            state=report.state,
            reason=plain(report.reason),
            since=report.since,
            codec=now.codec,
            width=now.width,
            height=now.height,
            fps=round(sum(head.frames for head in heads) / seconds, 1) if seconds else None,
            silent_s=self._age(now.last) if now.last else None,
        )

    async def _with_silence(self, rows: list[CameraRow]) -> list[CameraRow]:
        """Fetch the last segment of online cameras of which none was heard."""
        unheard = [row.camera for row in rows if row.state == "online" and row.silent_s is None][:MOST_LOOKUPS]
        found = dict(zip(unheard, await asyncio.gather(*map(self._last_age, unheard)), strict=True))
        return [msgspec.structs.replace(row, silent_s=found.get(row.camera, row.silent_s)) for row in rows]

    async def _last_age(self, id: str) -> float | None:
        try:
            last = await direct.get(self._client, names.MEDIA, subject=names.media(id))
        except NotFoundError:
            return math.inf
        except (BusError, APIError, TimeoutError, nats.errors.Error):
            return None
        return self._age(last.time)

    def _age(self, time: dt.datetime) -> float:
        return round(max(0.0, (self._now - time).total_seconds()), 1)

    async def _reasons(self) -> None:
        scaled = [s for s in self._bus.services.values() if s.record.scaled_object or s.record.name == "ingest"]
        await asyncio.gather(*(self._reason(service.record.name) for service in scaled))

    async def _reason(self, name: str) -> None:
        with suppress(TidegateError, TimeoutError, nats.errors.Error):
            service = self._bus.services[name]
            service.reason = reason(await explain.ask(self._client, name))
            service.reason_at = time.monotonic()

    def _services(self, discovered: Mapping[str, int]) -> list[ServiceRow]:
        at, rows = time.monotonic(), list[ServiceRow]()
        for name, service in self._bus.services.items():
            own = [p for p in self._problems if p.service == name]
            running = self._running(name, discovered)
            if service.is_there(at) or running or own or name in _ALWAYS:
                rows.append(self._service(service.now(at, None), running, own))
        return rows

    def _running(self, name: str, discovered: Mapping[str, int]) -> int | None:
        """Return the replicas of a service: by heartbeats, by the files of a local stack, or by their answers."""
        service = self._bus.services[name]
        if service.record.heartbeat:
            if _BEATS in self._client.forgone:
                return None
            return service.fleet.count(time.monotonic(), "loading", "ready", "draining")
        if self._processes is not None:
            return self._processes.get(name, 0)
        return discovered.get(name)

    def _service(self, now: ServiceNow, running: int | None, own: Sequence[Problem]) -> ServiceRow:
        waits = [f"{replica}: {plain(text)}" for (of, replica), text in self._waits.items() if of == now.name and text]
        is_steady = self._processes is not None and now.wanted is None and not catalog.find(now.name).scaled_object
        unready = sum(p.kind == "not ready" for p in own)
        ready = None if running is None else max(0, running - unready) if now.ready is None else now.ready
        return ServiceRow(
            service=now.name,
            state=now.state,
            wanted=1 if is_steady and (running or own) else now.wanted,
            running=running,
            ready=ready,
            pending=now.pending,
            in_flight=now.in_flight,
            oldest_s=now.age_s,
            problems=[plain(p.describe()) for p in own] or waits,
            why=plain(now.sentence),
        )

    def _late_services(self) -> list[ServiceNow]:
        at = time.monotonic()
        return [s.now(at, None) for s in self._bus.services.values() if s.is_there(at)]

    def _waiting(self) -> list[Finding]:
        """Report workers elsewhere that say why they wait; those of a local stack are among its problems."""
        local = {problem.replica for problem in self._problems}
        return [
            warn(replica, f"It is not ready: {plain(text)}", f"look at the log of {replica}")
            for (_, replica), text in self._waits.items()
            if text and replica not in local
        ]


def _late(s: ServiceNow, others: Sequence[Finding]) -> Finding | None:
    """Return a finding on messages that wait too long; None if another tells it."""
    if s.age_s is None or s.age_s <= s.late_s:
        return None
    what = f"service {s.name}"
    if s.state == "missing":
        if any(f.level == "bad" and (s.name in f.what or f.what.startswith(f"{s.name}-")) for f in others):
            return None
        waits = (s.pending or 0) + (s.in_flight or 0)
        found = f"{waits} messages wait, the oldest for {s.age_s:.0f} s, and no worker runs."
        return bad(what, found, f"look at its log, and at 'tidegate explain {s.name}'")
    return warn(what, f"Its oldest message waits for {s.age_s:.0f} s.", f"tidegate explain {s.name}")


def _of_streams(found: Sequence[StreamState], now: dt.datetime) -> list[Finding]:
    """Judge the streams; one finding if all of them fail alike."""
    if found and all(s.is_missing for s in found):
        return [bad("streams", "None of Tidegate's streams is there.", "tidegate setup")]
    if found and all(s.error for s in found):
        return [bad("JetStream", f"{found[0].error}.", "see the log of nats-server")]
    return findings.of_streams(found, now)


def _silent(rows: Sequence[CameraRow], is_any_heard: bool) -> list[Finding]:
    """Report cameras that are online by their last event, and send nothing; one finding if all are silent."""
    online = [row for row in rows if row.state == "online"]
    silent = [row for row in online if row.silent_s is not None and row.silent_s > SILENT_S]
    remedy = "see whether ingest runs, and its log"
    if online and not is_any_heard and len(silent) == min(len(online), MOST_LOOKUPS):
        return [bad("video", f"None arrives, of {len(online)} cameras that were online.", remedy)]
    return [
        bad(f"camera {row.camera}", f"It was online, and {_for_how_long(row.silent_s)}.", remedy, row.camera)
        for row in silent
    ]


def _for_how_long(seconds: float | None) -> str:
    return f"no video came for {seconds:.0f} s" if seconds and math.isfinite(seconds) else "none of its video is stored"


def _room(disk: Disk | None) -> list[Finding]:
    if disk is None or disk.free >= LITTLE_FREE:
        return []
    judge = bad if disk.free < LEAST_FREE else warn
    return [
        judge("the disk", f"{disk.free / GB:.1f} GB are free at {disk.folder}.", "free some, or lower MEDIA_MAX_BYTES")
    ]


def _room_of(s: StreamState) -> Room:
    return Room(stream=s.name, messages=s.messages, bytes=s.bytes, max_bytes=s.max_bytes, share_full=s.share_full)


def _disk(data: Path | None) -> Disk | None:
    if data is None:
        return None
    try:
        usage = shutil.disk_usage(data)
    except OSError:
        return None
    return Disk(folder=str(data), free=usage.free, total=usage.total)


def _processes(data: Path) -> Counter[str]:
    """Return how many processes of each service a local stack runs, by their files for Prometheus."""
    found: Counter[str] = Counter()
    for path in (data / "metrics").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
            found[json.loads(path.read_text())[0]["labels"]["service"]] += 1
    return found
