"""Stored and sent bytes never change: a renamed field would lose its value without an error.

No field of an example has its default. The bytes are literal: never regenerate them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from services.analytics.camera.state import CameraState
from services.analytics.partitions.checkpoint import inflated, packed, position, unpacked
from services.analytics.second_pass.state import (
    SecondPassState,
    second_pass_id,
)
from services.cv.static_scene import entry
from shared.bus.leasing import entry as lease_entry
from shared.contract import names
from shared.contract.events import (
    DetectedObject,
)
from shared.contract.questions import search
from shared.contract.work import backfill, jobs, stats, usage
from shared.recordings import ledger, records
from shared.recordings.queries import TotalsAnswer
from shared.recordings.records import Catalogue
from tests.support.recorded import (
    BACKFILL,
    BACKFILL_BYTES,
    BOX,
    CAMERA,
    CAMERA_BYTES,
    CAPTION,
    CAPTION_BYTES,
    CATALOGUE,
    CATALOGUE_BYTES,
    FORMER_SCENE_BYTES,
    FOUND,
    FOUND_BYTES,
    INGEST_USAGE,
    INGEST_USAGE_BYTES,
    LEDGER,
    LEDGER_BYTES,
    POSITION,
    POSITION_BYTES,
    SCENE_BYTES,
    SECOND_PASSES,
    SECOND_PASSES_BYTES,
    TOTALS,
    TOTALS_BYTES,
    VERIFY,
    VERIFY_BYTES,
    WORKER_STATS,
    WORKER_STATS_BYTES,
    WORKER_USAGE,
    WORKER_USAGE_BYTES,
)

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


def _unpacked(kind: type) -> Decode:
    return lambda data: unpacked(zlib.compress(data), kind)


def _packed(state: Any) -> bytes:
    return inflated(packed(state))


def _usage(service: str) -> Decode:
    return lambda data: usage.decode(names.usage(service), zlib.compress(data))


def _usage_bytes(value: Any) -> bytes:
    return zlib.decompress(usage.encode(value))


def _json(kind: type) -> Decode:
    return lambda data: msgspec.json.decode(data, type=kind)


def _job(job: jobs.Job) -> Decode:
    return lambda data: jobs.decode(jobs.subject(job), data)


def _backfill(data: bytes) -> Any:
    return backfill.decode("cv", names.backfill("cv", "lobby"), data)


def _defaults(value: Any, path: str = "") -> Iterator[str]:
    """Yield the fields of an example that have their defaults."""
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            found = getattr(value, field.name)
            if not field.required and found == (
                field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            ):
                yield f"{path}.{field.name}"
            yield from _defaults(found, f"{path}.{field.name}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _defaults(one, path)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _defaults(one, path)


# For each name: the value, its bytes, its decoder and its encoder.
EXAMPLES: dict[str, tuple[Any, bytes, Decode, Encode]] = {
    "analytics: position": (POSITION, POSITION_BYTES, position, msgspec.json.encode),
    "analytics: camera": (CAMERA, CAMERA_BYTES, _unpacked(CameraState), _packed),
    "analytics: second passes": (SECOND_PASSES, SECOND_PASSES_BYTES, _unpacked(SecondPassState), _packed),
    "heartbeat": (WORKER_STATS, WORKER_STATS_BYTES, stats.decode, stats.encode),
    "usage of a worker": (WORKER_USAGE, WORKER_USAGE_BYTES, _usage("cv"), _usage_bytes),
    "usage of an ingest": (INGEST_USAGE, INGEST_USAGE_BYTES, _usage("ingest"), _usage_bytes),
    "reply of svc.find": (FOUND, FOUND_BYTES, _json(search.Found), msgspec.json.encode),
    "ledger": (LEDGER, LEDGER_BYTES, ledger.decode, ledger.encode),
    "catalogue": (CATALOGUE, CATALOGUE_BYTES, _json(Catalogue), records.encode),
    "reply of svc.recording": (TOTALS, TOTALS_BYTES, _json(TotalsAnswer), msgspec.json.encode),
    "backfill": (BACKFILL, BACKFILL_BYTES, _backfill, backfill.encode),
    "verification": (VERIFY, VERIFY_BYTES, _job(VERIFY), jobs.encode),
    "caption": (CAPTION, CAPTION_BYTES, _job(CAPTION), jobs.encode),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_recorded_bytes_stay_the_same(name: str) -> None:
    value, data, decode, encode = EXAMPLES[name]
    found = decode(data)
    for field in value.__struct_fields__:
        assert getattr(found, field) == getattr(value, field), field
    assert encode(found) == data


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_have_no_defaults(name: str) -> None:
    assert list(_defaults(EXAMPLES[name][0])) == []


def test_scenes_stay_the_same() -> None:
    scene = entry.decode(SCENE_BYTES, "ssd/5", now=1000.5)
    [reference] = scene.references
    assert (scene.noise.deviation == 2.0).all()
    assert scene.noise.pictures == 8.5
    assert (reference.since, reference.times) == (1000.5, 0.25)
    assert (reference.picture == 7).all()
    person = DetectedObject(label="person", score=0.5, box=BOX)
    assert (reference.frames, reference.doubted) == ([[person]], [person])
    [former] = entry.decode(FORMER_SCENE_BYTES, "ssd/5", now=1000.5).references
    assert (former.frames, former.doubted) == ([[person]], [])
    assert entry.encode(scene, "ssd/5") == SCENE_BYTES


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"host-17-ab12/5", lease_entry.Entry("host-17-ab12", 5)),
        (b"host-17-ab12/offered/5", lease_entry.Entry("host-17-ab12", 5, offered=True)),
        (b"host-18-cd34/after-host-17-ab12/5", lease_entry.Entry("host-18-cd34", 5, after="host-17-ab12")),
        (
            b"host-18-cd34/after-host-17-ab12/since-1764250662104/5",
            lease_entry.Entry("host-18-cd34", 5, after="host-17-ab12", since=1764250662104),
        ),
        (b"host-17-ab12/again/5", lease_entry.Entry("host-17-ab12", 5, again=True)),
    ],
)
def test_leases_stay_the_same(data: bytes, value: lease_entry.Entry) -> None:
    assert lease_entry.decode(data) == value
    assert value.encode() == data


def test_ids_stay_the_same() -> None:
    assert second_pass_id("analytics/incidents/lobby/i-17/start/1") == "settled/incidents/lobby/i-17/start/1"
    assert backfill.revision_id("cv/ssd/MEDIA/7") == "cv/ssd/MEDIA/7/full"
    assert backfill.deferred_id("cv/ssd/MEDIA/7") == "cv/ssd/MEDIA/7/deferred"
    assert VERIFY.message_id == "verify/lobby/i-17"
    assert CAPTION.message_id == "caption/lobby/j-1"
