"""Every event and every job, field by field: from the structs that encode and decode them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import msgspec

from shared.contract import events, names
from shared.contract.work import jobs
from tools.reference import structs
from tools.reference.markdown import page

EVENTS = """Events are JSON on `events.<kind>.<camera>`, kept in the stream EVENTS. Those of the past are on
`past.<kind>.<camera>`, where no app hears them. A field that has no value is left out. Times are UTC with milliseconds.
The same as documents for programs: [events.schema.json](events.schema.json) (`tidegate schema`) and
[asyncapi.json](asyncapi.json) (`tidegate schema --asyncapi`)."""

HEADERS = """Headers are those of [CloudEvents](https://cloudevents.io) 1.0 in binary mode:

```
{}
```

JetStream drops a second event of the same `ce-id` within 15 minutes, or `MEDIA_MAX_AGE_S` where that is longer, up to
an hour; a reader can drop it by `ce-id` at any time.
`Nats-Msg-Id`, by which JetStream knows it, is an HMAC of `ce-id` under a key that the service's replicas share: nobody
else can use an id up before them."""

JOBS = """Jobs are JSON on `jobs.vlm.<kind>.<camera>`, kept in a work queue until one worker has answered. Each
that a worker takes ends in exactly one event. `tidegate schema --jobs` prints the JSON Schema. [How to
ask](../how-to/ask.md) explains the kinds."""


def events_page() -> str:
    """Return the page of all events, then the structs that they share."""
    example = events.CameraStatus(
        camera="lobby",
        time=dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC),
        state="online",
        reason="",
        url="rtsp://10.0.0.7/stream1",
        ingest="ingest-0",
    )
    headers = events.headers(example, id="<service>/<model>/<stream>/<sequence>", source="/tidegate/<service>")
    shown = "\n".join(f"{name}: {value}" for name, value in headers.items() if name != "ce-time")
    blocks = [EVENTS, "## Headers", HEADERS.format(shown)]
    for kind in events.KINDS:
        where = f"`{names.event(kind.kind, '<camera>')}`, `ce-type: {events.type_of(kind)}`"
        blocks += [f"## {kind.kind}", where, structs.summary(kind), structs.fields_table(kind, link)]
    return page("Events", *blocks, *_parts(events.KINDS))


def jobs_page() -> str:
    """Return the page of all jobs."""
    blocks = [JOBS]
    for kind in jobs.KINDS:
        blocks += [
            f"## {kind.kind}",
            f"`jobs.vlm.{kind.kind}.<camera>`",
            structs.summary(kind),
            structs.fields_table(kind, link),
        ]
    return page("Jobs for a vision language model", *blocks)


def _parts(kinds: Iterable[type[msgspec.Struct]]) -> Iterable[str]:
    """Yield the sections of the structs that events contain."""
    found = structs.reachable(*kinds)
    for name in sorted(set(found) - {kind.__name__ for kind in kinds}):
        yield f"## {name}"
        yield structs.summary(found[name])
        yield structs.fields_table(found[name], link)


def link(name: str) -> str:
    """Return a link to the section of a struct on the same page."""
    return f"[{name}](#{name.lower()})"
