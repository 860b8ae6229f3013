"""The doors of webhook: alerts and incidents."""

from __future__ import annotations

from services.webhook import outgoing
from shared.contract.events import Alert, Incident
from shared.runtime.errors import BadMessage
from tests.fuzz import good, spoil
from tests.fuzz.delivery import NotDelivered, stored
from tests.fuzz.door import Door


def _delivered(data: bytes) -> None:
    one = stored(data, "events.alerts.*" if b"events.alerts." in data else "events.incidents.*")
    outgoing.read(one.subject, one.headers, one.data)


DOORS = (
    Door(
        "webhook.event",
        lambda: good.event_messages(Incident, Alert),
        _delivered,
        (NotDelivered, BadMessage),
        spoil.message(spoil.as_json),
    ),
)
