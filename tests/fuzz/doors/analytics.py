"""The doors of analytics: detections, their revisions, verdicts, rules, its checkpoints, and what previews rules."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from services.analytics.camera.state import CameraState
from services.analytics.limits import Limits
from services.analytics.partitions import checkpoint
from services.analytics.partitions.partition import Partition
from services.analytics.partitions.reading import VerdictLog
from services.analytics.preview import answers
from services.analytics.second_pass.passes import Page, Passes
from services.analytics.second_pass.state import SecondPassState
from services.analytics.second_pass.versions import BestVersion, First, best, head, revision_of
from shared.bus.direct import Stored
from shared.contract import events, rules
from shared.contract.events import Detections, DetectionsRevision, Quality, Verdict
from shared.contract.questions import preview
from shared.contract.reading.mistakes import Mistake, Mistakes
from shared.contract.rules import Rules
from shared.runtime.errors import BadMessage
from tests.fuzz import good, spoil
from tests.fuzz.delivery import NotDelivered, stored
from tests.fuzz.door import Door, wait
from tests.fuzz.good import NOW
from tests.support.worlds.analytics_partition import RULES

BOOK = msgspec.convert(RULES, Rules)
TEXT = json.dumps(RULES).encode()


def _partition() -> Partition:
    """One that has read good detections."""
    partition = Partition(0, Limits(reorder_s=3.0, idle_s=10.0), lambda camera: BOOK)
    _read(partition)
    return partition


def _read(partition: Partition) -> None:
    for n, walk in enumerate(good.every_event()[:2]):
        partition.read(Stored(n + 1, "events.detections.lobby", NOW, {}, events.encode(walk)))


def _followed(data: bytes) -> None:
    """Feed analytics detections after good ones, up to the checkpoint and the events that follow."""
    partition = _partition()
    outs = partition.read(stored(data, "events.detections.*"))
    outs += [out for _, late in partition.due(NOW.timestamp() + 1e5) for out in late]
    for out in outs:
        if isinstance(out.what, events.Event):
            events.headers(out.what, id=out.id, source="/tidegate/analytics")
            events.encode(out.what)
    for camera in partition.cameras.values():
        checkpoint.unpacked(checkpoint.packed(camera.state()))


class _Log:
    """One message of EVENTS."""

    def __init__(self, one: Stored) -> None:
        self._one = one

    async def read(self, subject: str, seq: int) -> list[Stored]:
        return [self._one]


def _verdict(data: bytes) -> None:
    incidents: Any = _Log(stored(data, "events.verdicts.*"))
    partition = _partition()
    log = VerdictLog()
    wait(log.read(incidents))
    for one in log.take():
        for out in partition.verdict(one.verdict, one.at):
            events.encode(out.what) if isinstance(out.what, events.Event) else None


def _rules(data: bytes) -> None:
    rules.encode(rules.decode(data))


def _rule_file(data: bytes) -> None:
    """Assert that the report of `tidegate rules` on a file is text."""
    try:
        rules.read(data, "rules.yaml")
    except Mistakes as e:
        assert all(isinstance(m, Mistake) for m in e.all)
        str(e).encode(errors="surrogatepass")
        raise


def _checkpoint(data: bytes) -> None:
    partition = Partition(0, Limits(), lambda camera: BOOK)
    partition.restore("lobby", checkpoint.unpacked(data))
    _read(partition)
    list(partition.due(NOW.timestamp() + 1e5))
    partition.resume_at()


def _frames_left_out() -> list[First]:
    """Good detections with fewer analysed frames than wanted."""
    quality = Quality(fps=1, wanted=5, cause="backlog")
    walks = [e for e in good.every_event() if type(e) is Detections]
    return [
        First(n, f"cv/{n}", NOW.timestamp(), msgspec.structs.replace(e, quality=quality))
        for n, e in enumerate(walks, 1)
    ]


def _deferred() -> Partition:
    """One that has read these, and has a second pass of them to make."""
    partition = Partition(0, Limits(reorder_s=3.0, idle_s=10.0), lambda camera: BOOK, extend=Passes)
    for first in _frames_left_out():
        data = events.encode(first.event)
        partition.read(Stored(first.seq, "events.detections.lobby", NOW, {"ce-id": first.id}, data))
    return partition


def _passes_of(partition: Partition) -> Passes:
    assert isinstance(partition.extension, Passes)
    return partition.extension


def _second_pass(partition: Partition, read: list[BestVersion]) -> None:
    """Run a second pass to its end, its checkpoint and the events that follow."""
    passes = _passes_of(partition)
    outs = passes.advance_camera(Page("lobby", read, 10, until=0.0, over=False), NOW.timestamp())
    if settled := passes.by_camera.get("lobby"):
        checkpoint.unpacked(checkpoint.packed(settled.state()), SecondPassState)
        outs += passes.advance_camera(Page("lobby", [], 10, until=0.0, over=True), NOW.timestamp() + 1e5)
    outs += [out for _, late in partition.due(NOW.timestamp() + 1e6) for out in late]
    for out in outs:
        if isinstance(out.what, events.Event):
            events.headers(out.what, id=out.id, source="/tidegate/analytics")
            events.encode(out.what)


def _revision(data: bytes) -> None:
    """Feed a second pass an event that claims to revise a good event."""
    found = stored(data, "events.revisions.detections.*")
    existing = head(found)
    read = []
    for first in _frames_left_out():
        revision = revision_of(found, first) if existing and existing.revises == first.id else None
        read.append(BestVersion(first, best(first.event, revision), "revised" if revision else "overdue"))
    _second_pass(_deferred(), read)


def _revisions() -> list[bytes]:
    found = []
    for first in _frames_left_out():
        fields = {f: getattr(first.event, f) for f in first.event.__struct_fields__}
        whole = DetectionsRevision(**fields, revises=first.id)
        found += [whole, msgspec.structs.replace(whole, frames=[], lost="expired")]
    return [good.message(event) for event in found]


def _passes(data: bytes) -> None:
    partition = Partition(0, Limits(), lambda camera: BOOK, extend=Passes)
    _read(partition)
    passes = _passes_of(partition)
    passes.restore("lobby", checkpoint.unpacked(data, SecondPassState))
    if settled := passes.by_camera.get("lobby"):
        assert settled.place is None or settled.place.ends_at() is not None
        _second_pass(partition, [BestVersion(f, f.event, "overdue") for f in _frames_left_out()])


def _passes_states() -> list[bytes]:
    settled = _passes_of(_deferred()).by_camera["lobby"]
    found = [checkpoint.packed(settled.state())]
    assert settled.head
    return [*found, checkpoint.packed(settled.state())]


def _position(data: bytes) -> None:
    checkpoint.position(data)


def _previewed(data: bytes) -> None:
    """Read a preview's answer as its client does."""
    for one in answers(io.BytesIO(data), Limits(reorder_s=3.0, idle_s=10.0)):
        preview.answer(preview.line_of(one))


def _preview_of(*data: bytes) -> bytes:
    """A preview's request about messages of EVENTS."""
    hour = dt.timedelta(hours=1)
    lines = [preview.detections(n, NOW, one) for n, one in enumerate(data, 1)]
    return b"".join([preview.request("lobby", RULES, NOW - hour, NOW + hour), *lines, preview.end(NOW + hour)])


def _preview_event(data: bytes) -> None:
    """Whatever EVENTS holds is a line, and no reason to refuse the others."""
    text = _preview_of(data, *map(events.encode, good.every_event()[:2]))
    assert text.count(b"\n") == 5
    _previewed(text)


def _of_lines(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One line is spoilt."""
    lines = data.splitlines(keepends=True)
    n = dice.randrange(len(lines)) if lines else 0
    lines[n : n + 1] = [spoil.as_json(dice, b"".join(lines[n : n + 1]).strip(), others), b"\n"]
    return b"".join(lines)[: spoil.MOST]


def _states() -> list[bytes]:
    partition = Partition(0, Limits(), lambda camera: BOOK)
    found = [checkpoint.packed(CameraState())]
    for n, walk in enumerate(good.every_event()[:2]):
        partition.read(Stored(n + 1, "events.detections.lobby", NOW, {}, events.encode(walk)))
        found.append(checkpoint.packed(partition.cameras["lobby"].state()))
    return found


DOORS = (
    Door(
        "analytics.detections",
        lambda: good.event_messages(Detections),
        _followed,
        (NotDelivered,),
        spoil.message(spoil.as_json),
        share=0.4,
    ),
    Door(
        "analytics.verdict",
        lambda: good.event_messages(Verdict),
        _verdict,
        (NotDelivered,),
        spoil.message(spoil.as_json),
        share=0.3,
    ),
    Door("analytics.rules", lambda: [TEXT], _rules, (Mistakes,), spoil.as_json, share=0.5),
    Door("analytics.rule-file", lambda: [TEXT, msgspec.yaml.encode(RULES)], _rule_file, (Mistakes,), share=0.3),
    Door(
        "analytics.preview",
        lambda: [_preview_of(*map(events.encode, good.every_event()[:2]))],
        _previewed,
        (BadMessage,),
        _of_lines,
        share=0.3,
    ),
    Door(
        "analytics.preview-event",
        lambda: [events.encode(event) for event in good.every_event()[:2]],
        _preview_event,
        (),
        spoil.as_json,
        share=0.3,
    ),
    Door("analytics.revision", _revisions, _revision, (NotDelivered,), spoil.message(spoil.as_json), share=0.3),
    Door("analytics.second-pass", _passes_states, _passes, (checkpoint.Unreadable,), share=0.3),
    Door("analytics.checkpoint", _states, _checkpoint, (checkpoint.Unreadable,), share=0.3),
    Door(
        "analytics.position",
        lambda: good.as_json({"seq": 1, "verdicts": 2}),
        _position,
        (checkpoint.Unreadable,),
        spoil.as_json,
        share=0.3,
    ),
)
