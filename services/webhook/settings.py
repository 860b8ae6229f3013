"""The settings of `python -m services.webhook`, read from the environment."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import Meta

from services.webhook import signature
from services.webhook.outgoing import KINDS
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings
from shared.runtime.times import instant, now_here

DAY_S = 24 * 3600.0
# EVENTS stores an event for seven days: by then it must be delivered or dead-lettered.
LONGEST_S = 6 * DAY_S


class WebhookSettings(BusSettings, frozen=True, kw_only=True):
    # Constraints of these three are below: type errors would show their values.
    webhook_url: Annotated[
        str, Meta(description="where events are posted, such as https://example.org/alerts; may hold user:password@")
    ]
    webhook_secret: Annotated[
        str,
        Meta(description="signs requests: whsec_<base64>, or plain text; WEBHOOK_SECRET_FILE reads it from a file"),
    ] = ""
    webhook_events: Annotated[str, Meta(description="alerts, incidents, or alerts,incidents")] = "alerts"
    webhook_format: Annotated[
        Literal["cloudevents", "slack", "ntfy"],
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
        try:
            parts = urlsplit(self.webhook_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            # An @ in a password would split it: the rest would be the host.
            usable = usable and not ("@" in parts.netloc and "@" in f"{parts.path}{parts.query}{parts.fragment}")
            usable = usable and ":" not in unquote(parts.username or "")  # impossible in basic authentication
        except ValueError:
            usable = False
        if not usable or any(c.isspace() for c in self.webhook_url):
            raise SettingError(
                "WEBHOOK_URL is no URL of http or https: give one such as https://example.org/alerts; in a user or "
                "password write / as %2F, @ as %40 and % as %25, and after them an @ as %40 too; a user has no colon"
            )
        try:
            signature.key_of(self.webhook_secret)
        except ValueError as e:
            raise SettingError(
                f"WEBHOOK_SECRET can't be used: {e}. Make one: "
                """python -c "import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""""
            ) from None
        if not self.kinds or self.kinds - KINDS.keys():
            raise SettingError(
                f"WEBHOOK_EVENTS={self.webhook_events!r} can't be used: give alerts, incidents, or alerts,incidents"
            )
        _ = self.since

    @property
    def since(self) -> dt.datetime | None:
        """The time of WEBHOOK_SINCE; None for now. Raises SettingError."""
        return None if self.webhook_since == "now" else instant("WEBHOOK_SINCE", self.webhook_since, now_here())

    @property
    def url(self) -> str:
        """WEBHOOK_URL without user and password."""
        parts = urlsplit(self.webhook_url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of WEBHOOK_URL, decoded."""
        parts = urlsplit(self.webhook_url)
        return (unquote(parts.username or ""), unquote(parts.password or "")) if "@" in parts.netloc else None

    @property
    def key(self) -> bytes:
        """The key of signatures; empty for none."""
        return signature.key_of(self.webhook_secret)

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of events to send."""
        return frozenset(kind.strip() for kind in self.webhook_events.split(",") if kind.strip())
