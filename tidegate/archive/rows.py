"""Results as Parquet rows, and events from rows. `SEGMENTS` nests as live events do; the others are flat, for SQL.

| folder | a row is |
|---|---|
| `segments` | an analysed segment: its frames, and the objects in each; `id` is the live event's `ce-id` |
| `detections` | an object in a frame |
| `embeddings` | a frame as a vector; `id` is the live event's `ce-id` |
| `captions` | the caption of a stretch, or the reason why it has none |
| `tracks` | a tracked object, from its first detection to its last |
| `incidents` | a rule that came true |

Times are UTC, boxes fractions of width and height.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.contract.events import (
    Caption,
    DetectedObject,
    Detections,
    Embeddings,
    Frame,
    Incident,
    Seen,
    SegmentRef,
    Timing,
    Track,
    Usage,
    Vector,
)
from shared.models import vectors

T = TypeVar("T", bound=msgspec.Struct)

# Latencies are those of live video: recordings have none.
NO_TIME = Timing(queued_ms=0, decode_ms=0, infer_ms=0)
_ABOUT = b"tidegate"
TIME = pa.timestamp("us", "UTC")
_BOX = [(side, pa.float32()) for side in ("x1", "y1", "x2", "y2")]
_REF = [("stream", pa.string()), ("seq", pa.int64()), ("epoch", pa.string()), ("n", pa.int64())]
_REF_NAMES = tuple(name for name, _ in _REF)
_OBJECT = pa.struct([("label", pa.string()), ("score", pa.float64()), ("box", pa.list_(pa.float64(), 4))])
_FRAME = pa.struct([("time", TIME), ("objects", pa.list_(_OBJECT))])

SEGMENTS = pa.schema(
    [
        ("run", pa.string()),
        ("id", pa.string()),
        ("camera", pa.string()),
        *_REF,
        ("start", TIME),
        ("duration", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("model", pa.string()),
        ("failed", pa.string()),
        ("frames", pa.list_(_FRAME)),
    ]
)
DETECTIONS = pa.schema(
    [
        ("run", pa.string()),
        ("camera", pa.string()),
        ("time", TIME),
        ("label", pa.string()),
        ("score", pa.float32()),
        *_BOX,
        ("model", pa.string()),
        ("segment", pa.string()),
    ]
)
EMBEDDINGS = pa.schema(
    [
        ("run", pa.string()),
        ("id", pa.string()),
        ("camera", pa.string()),
        ("time", TIME),
        ("model", pa.string()),
        *_REF,
        ("start", TIME),
        ("duration", pa.float64()),
        ("vector", pa.list_(pa.float32())),
    ]
)
CAPTIONS = pa.schema(
    [
        ("run", pa.string()),
        ("id", pa.string()),
        ("camera", pa.string()),
        ("start", TIME),
        ("end", TIME),
        ("model", pa.string()),
        ("text", pa.string()),
        ("failed", pa.string()),
        ("frames", pa.list_(TIME)),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
    ]
)
TRACKS = pa.schema(
    [
        ("run", pa.string()),
        ("camera", pa.string()),
        ("id", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("first", TIME),
        ("last", TIME),
        ("path", pa.list_(pa.struct([("time", TIME), *_BOX]))),
    ]
)
INCIDENTS = pa.schema(
    [
        ("run", pa.string()),
        ("camera", pa.string()),
        ("id", pa.string()),
        ("rule", pa.string()),
        ("condition", pa.string()),
        ("severity", pa.string()),
        ("start", TIME),
        ("end", TIME),
        ("zone", pa.string()),
        ("line", pa.string()),
        ("direction", pa.string()),
        ("value", pa.float64()),
        ("objects", pa.list_(pa.string())),
        ("snapshot", TIME),
    ]
)


def parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, about: msgspec.Struct | None = None) -> bytes:
    """Return a Parquet file. about: its metadata, for `read_metadata`."""
    metadata = {_ABOUT: msgspec.json.encode(about)} if about else {}
    table = pa.Table.from_pylist(list(rows), schema.with_metadata(metadata))
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def read(data: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
    return rows


def read_metadata(data: bytes, kind: type[T]) -> T:
    """Return the metadata of a Parquet file."""
    return msgspec.json.decode(pq.read_schema(io.BytesIO(data)).metadata[_ABOUT], type=kind)


def segment(run: str, id: str, event: Detections, failed: str | None = None) -> dict[str, Any]:
    """Return a row of `segments`. failed: why it was not analysed."""
    frames = [
        {"time": f.time, "objects": [{"label": o.label, "score": o.score, "box": list(o.box)} for o in f.objects]}
        for f in event.frames
    ]
    return {
        "run": run,
        "id": id,
        **_fields(event, "camera", "start", "duration", "width", "height", "model"),
        **_fields(event.segment, *_REF_NAMES),
        "failed": failed,
        "frames": frames,
    }


def detections_event(row: Mapping[str, Any]) -> Detections:
    """Return the event that live cv would have published, from a row of `segments`."""
    return Detections(
        **{name: row[name] for name in ("camera", "start", "duration", "width", "height", "model")},
        segment=_ref(row),
        frames=[Frame(time=f["time"], objects=objects(f)) for f in row["frames"]],
        timing=NO_TIME,
    )


def objects(frame: Mapping[str, Any]) -> list[DetectedObject]:
    """Return the objects of a frame of a row of `segments`."""
    return [DetectedObject(label=o["label"], score=o["score"], box=tuple(o["box"])) for o in frame["objects"]]


def detections(run: str, id: str, event: Detections) -> Iterable[dict[str, Any]]:
    """Yield the rows of `detections`."""
    for frame in event.frames:
        for o in frame.objects:
            yield {
                "run": run,
                "camera": event.camera,
                "time": frame.time,
                **_fields(o, "label", "score"),
                **_sides(o.box),
                "model": event.model,
                "segment": id,
            }


def embeddings(run: str, id: str, event: Embeddings) -> Iterator[dict[str, Any]]:
    """Yield the rows of `embeddings`. Values are rounded to float16, as in events."""
    of = {
        "run": run,
        "id": id,
        **_fields(event, "camera", "model", "start", "duration"),
        **_fields(event.segment, *_REF_NAMES),
    }
    for one in event.vectors:
        yield {**of, "time": one.time, "vector": vectors.unpack(one.vector, event.dimension)}


def embedding_events(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Embeddings]]:
    """Yield (id, the event that live embed would have published) for each segment. rows: grouped by segment."""
    for id, group in groupby(rows, lambda row: str(row["id"])):
        its = list(group)
        row = its[0]
        yield (
            id,
            Embeddings(
                **{name: row[name] for name in ("camera", "start", "duration", "model")},
                segment=_ref(row),
                dimension=len(row["vector"]),
                vectors=[Vector(time=r["time"], vector=vectors.pack(np.asarray(r["vector"], np.float32))) for r in its],
                timing=NO_TIME,
            ),
        )


def caption(run: str, id: str, event: Caption) -> dict[str, Any]:
    """Return a row of `captions`. event: as live vlm would publish it; its reason is why there is no text."""
    return {
        "run": run,
        "id": id,
        **_fields(event, "camera", "start", "end", "model", "text"),
        "failed": event.reason or None,
        "frames": [frame.time for frame in event.frames],
        **_fields(event.usage, "prompt_tokens", "completion_tokens"),
    }


def caption_event(row: Mapping[str, Any]) -> Caption:
    """Return the event that live vlm would have published, from a row of `captions`."""
    return Caption(
        **{name: row[name] for name in ("camera", "start", "end", "model", "text")},
        job=row["id"],
        frames=[Seen(time=time, seq=0) for time in row["frames"]],
        timing=NO_TIME,
        usage=Usage(prompt_tokens=row["prompt_tokens"], completion_tokens=row["completion_tokens"], first_token_ms=0.0),
    )


def _ref(row: Mapping[str, Any]) -> SegmentRef:
    return SegmentRef(**{name: row[name] for name in _REF_NAMES})


def track(run: str, camera: str, parts: Sequence[Track]) -> dict[str, Any]:
    """Return a row of `tracks`. parts: all published states of the track, in order."""
    last = parts[-1]
    return {
        "run": run,
        "camera": camera,
        **_fields(last, "id", "label", "score", "first", "last"),
        "path": [{"time": point.time, **_sides(point.box)} for part in parts for point in part.path],
    }


def incident(run: str, event: Incident) -> dict[str, Any]:
    """Return a row of `incidents`. event: the last one of the incident."""
    return {
        "run": run,
        "id": event.incident,
        **_fields(
            event, "camera", "rule", "condition", "severity", "start", "end", "zone", "line", "direction", "value"
        ),
        "objects": [o.id for o in event.objects],
        "snapshot": event.snapshot.time if event.snapshot else None,
    }


def _fields(of: object, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


def _sides(box: Sequence[float]) -> dict[str, float]:
    return dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
