"""The doors of analytics: detections, verdicts, rules, and its checkpoints."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from services.analytics import checkpoint, rules
from services.analytics.mistakes import Mistake
from services.analytics.partition import Partition
from services.analytics.reading import VerdictLog
from services.analytics.rules import Mistakes, Rules
from services.analytics.state import CameraState, Limits
from shared.bus.direct import Stored
from shared.contract import events
from shared.contract.events import Detections, Verdict
from tests.fuzz import good, spoil
from tests.fuzz.delivery import NotDelivered, stored
from tests.fuzz.door import Door, wait
from tests.fuzz.good import NOW
from tests.test_analytics_camera import RULES

BOOK = msgspec.convert(RULES, Rules)
TEXT = json.dumps(RULES).encode()


def _partition() -> Partition:
    """One that has read good detections."""
    partition = Partition(0, Limits(reorder_s=3.0, idle_s=10.0), lambda camera: BOOK)
    _read(partition)
    return partition


def _read(partition: Partition) -> None:
    for n, walk in enumerate(good.said()[:2]):
        partition.read(Stored(n + 1, "events.detections.lobby", NOW, {}, events.encode(walk)))


def _followed(data: bytes) -> None:
    """What analytics does with detections after good ones, to the checkpoint and the events that follow."""
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
    said: Any = _Log(stored(data, "events.verdicts.*"))
    partition = _partition()
    log = VerdictLog()
    wait(log.read(said))
    for one in log.heard():
        for out in partition.verdict(one.verdict, one.at):
            events.encode(out.what) if isinstance(out.what, events.Event) else None


def _rules(data: bytes) -> None:
    rules.encode(rules.decode(data))


def _rule_file(data: bytes) -> None:
    """What `tidegate rules` says of a file is text."""
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
    partition.first_needed()


def _position(data: bytes) -> None:
    checkpoint.position(data)


def _states() -> list[bytes]:
    partition = Partition(0, Limits(), lambda camera: BOOK)
    found = [checkpoint.packed(CameraState())]
    for n, walk in enumerate(good.said()[:2]):
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
