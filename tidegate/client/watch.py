"""`tidegate watch`: events as they come, for people or for programs."""

from __future__ import annotations

import asyncio
from collections import Counter

import click
import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console

from services.analytics.mistakes import nearest
from shared.contract.events import (
    KINDS,
    Answer,
    CameraStatus,
    Caption,
    Counts,
    Detections,
    Event,
    Incident,
    Said,
    Summary,
    Track,
    Tracks,
    Verdict,
)
from shared.contract.segment import rfc3339
from shared.runtime.errors import SettingError, TidegateError

_TYPES = {kind.kind: kind for kind in KINDS}
# So many ids are known again. After a crash a camera's last ten seconds are said again, an event or two a second: this
# is enough for a thousand cameras.
REMEMBERED = 20_000


def full(subject: str) -> str:
    """`>`, `detections`, `detections.lobby`, or a whole `events.…`, as a subject of NATS. Raises SettingError."""
    whole = subject if subject.startswith("events.") else f"events.{subject}"
    tokens = whole.split(".")
    if not all(tokens) or any(c.isspace() for c in whole) or ">" in tokens[:-1]:
        raise SettingError(
            f"SUBJECT {subject!r} can't be used: give a kind and, after a dot, a camera, as in incidents.lobby"
        )
    if tokens[1] not in (*_TYPES, "*", ">"):
        raise SettingError(f"SUBJECT {subject!r}: there is no kind of event {tokens[1]!r}{nearest(tokens[1], _TYPES)}")
    return f"{whole}.>" if len(tokens) == 2 and tokens[1] != ">" else whole


async def run(client: Client, subject: str, as_json: bool, out: Console) -> None:
    """Print until cancelled or the reader has gone, each event once. Raises SettingError, and TidegateError."""
    seen: dict[str, None] = {}
    printing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def show(message: Msg) -> None:
        # The client would log what is raised here and go on; rich ends the process by SystemExit.
        try:
            tell(message)
        except (BrokenPipeError, SystemExit) as e:
            error: BaseException = e
        except OSError as e:
            error = TidegateError(f"standard output can't be written: {e.strerror}")
        else:
            return
        if not printing.done():
            printing.set_exception(error)

    def tell(message: Msg) -> None:
        if id := (message.headers or {}).get("ce-id"):
            if id in seen:
                return
            seen[id] = None
            if len(seen) > REMEMBERED:
                del seen[next(iter(seen))]
        if as_json:
            click.echo(message.data.decode())
        else:
            out.print(_readable(message), soft_wrap=True, markup=False)

    await client.subscribe(full(subject), cb=show)
    await printing


def _readable(message: Msg) -> str:
    kind = message.subject.split(".")[1]
    try:
        event: Event = msgspec.json.decode(message.data, type=_TYPES[kind])
    except (KeyError, msgspec.DecodeError):
        return f"{message.subject}: {message.data.decode(errors='replace')}"
    return f"{message.subject:<32} {describe(event)}"


def describe(event: Event) -> str:
    """One line of what an event says."""
    match event:
        case Detections():
            seen = Counter(o.label for f in event.frames[-1:] for o in f.objects)
            objects = ", ".join(f"{n} {label}" for label, n in seen.most_common()) or "nothing"
            t = event.timing
            return f"{rfc3339(event.start)}  {objects}  (queued {t.queued_ms:.0f} ms, infer {t.infer_ms:.0f} ms)"
        case Tracks():
            return f"{rfc3339(event.start)}  {'; '.join(map(_track, event.tracks))}"
        case Incident():
            return f"{rfc3339(event.time)}  {_incident(event)}"
        case Counts():
            lines = [
                f"{line} {n} {label} {way}"
                for line, labels in event.lines.items()
                for label, c in labels.items()
                for way, n in (("in", c.into), ("out", c.out))
                if n
            ]
            counted = [f"{p.objects} {label}, {p.most} at once" for label, p in event.labels.items()]
            return f"{rfc3339(event.start)}  {'; '.join(counted + lines) or 'nothing'}"
        case CameraStatus():
            return f"{rfc3339(event.time)}  {event.state}: {event.reason}"
        case Said() if event.cause:
            return f"{rfc3339(event.start)}  no answer, {event.cause}: {event.reason}"
        case Verdict():
            return f"{rfc3339(event.start)}  {event.verdict} {event.confidence:.0%}, {event.incident}: {event.reason}"
        case Answer():
            return f"{rfc3339(event.start)}  {event.question!r}: {event.text}"
        case Caption() | Summary():
            seconds = (event.end - event.start).total_seconds()
            return f"{rfc3339(event.start)}  {seconds:.0f} s: {event.text}"
        case _:
            return msgspec.json.encode(event).decode()


def _track(track: Track) -> str:
    where = f" in {', '.join(track.zones)}" if track.zones else ""
    return f"{track.label} {track.id} {track.state}{' stationary' if track.stationary else ''}{where}"


def _incident(event: Incident) -> str:
    place = next((f" {what} {name}" for what, name in (("in", event.zone), ("over", event.line)) if name), "")
    way = f" ({event.direction})" if event.direction else ""
    who = ", ".join(f"{o.label} {o.id}" for o in event.objects[:3])
    more = f" and {len(event.objects) - 3} more" if len(event.objects) > 3 else ""
    value = f", {event.value:g}" if event.value is not None else ""
    verified = f", {event.verification}" if event.verification != "none" else ""
    return f"{event.severity} {event.rule} {event.state}: {event.condition}{place}{way} {who}{more}{value}{verified}"
