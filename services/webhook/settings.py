"""The settings of `python -m services.webhook`, read from the environment."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from msgspec import Meta

from shared.contract import endpoint
from shared.contract.endpoint import EndpointSettings, Format
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings
from shared.runtime.times import instant, now_here

DAY_S = 24 * 3600.0
# EVENTS stores an event for seven days: by then it must be delivered or dead-lettered.
LONGEST_S = 6 * DAY_S


class WebhookSettings(BusSettings, frozen=True, kw_only=True):
    # Constraints of these three are in the contract: type errors would show their values.
    webhook_url: Annotated[
        str,
        Meta(
            description="where events are posted, such as https://example.org/alerts; may hold user:password@; empty: "
            "as the site file says, and the next three are not used"
        ),
    ] = ""
    webhook_secret: Annotated[
        str,
        Meta(description="signs requests: whsec_<base64>, or plain text; WEBHOOK_SECRET_FILE reads it from a file"),
    ] = ""
    webhook_events: Annotated[str, Meta(description="alerts, incidents, or alerts,incidents")] = "alerts"
    webhook_format: Annotated[
        Format,
        Meta(description="body of a request: the event itself, or a text for Slack or ntfy"),
    ] = "cloudevents"
    webhook_timeout_s: Annotated[float, Meta(gt=0, le=300, description="most seconds that one request takes")] = 10.0
    webhook_parallel: Annotated[int, Meta(ge=1, le=256, description="most requests at once")] = 8
    webhook_give_up_s: Annotated[
        float,
        Meta(gt=0, le=LONGEST_S, description="seconds after which an event that still fails is a dead letter"),
    ] = DAY_S
    webhook_since: Annotated[
        str,
        Meta(
            description="where a first start begins: now, an age such as 1h, or a time; later starts go on where it was"
        ),
    ] = "now"

    def __post_init__(self) -> None:
        """Raise SettingError, without secrets, for mistakes that types can't catch."""
        if settings := self.endpoint:
            for field, flaw in endpoint.flaws(settings):
                raise SettingError(f"WEBHOOK_{field.upper()} {flaw}")
        _ = self.since

    @property
    def since(self) -> dt.datetime | None:
        """The time of WEBHOOK_SINCE; None for now. Raises SettingError."""
        return None if self.webhook_since == "now" else instant("WEBHOOK_SINCE", self.webhook_since, now_here())

    @property
    def endpoint(self) -> EndpointSettings | None:
        """The endpoint of WEBHOOK_URL; None if it is not set: then the site's is used."""
        if not self.webhook_url:
            return None
        kinds = {kind.strip() for kind in self.webhook_events.split(",")} - {""}
        return EndpointSettings(
            url=self.webhook_url,
            secret=self.webhook_secret,
            events=tuple(sorted(kinds)),
            format=self.webhook_format,
        )
