"""Stores an alert's picture, or why it has none: once, by its id, however often the alert is delivered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Literal

from nats.aio.client import Client
from nats.js.errors import APIError

from services.pictures import frame
from services.pictures.frame import CodedFrame
from services.pictures.settings import PicturesSettings
from shared import bus
from shared.contract import names, pictures
from shared.contract.events import Incident
from shared.contract.reading.missing import Unread
from shared.contract.topology import PICTURE_BYTES
from shared.recordings.policies import Policies
from shared.recordings.policy import Mask
from shared.runtime.errors import Expired, Refusal
from shared.runtime.telemetry import logger
from shared.video.decoding.decoders import Decoders

Outcome = Literal["stored", "expired", "excluded", "unreadable"]
# JetStream's code for a subject that has a message already.
_TAKEN = 10071
# Seconds of a publish: the alert is delivered again later.
PATIENCE_S = 10.0
# The video of a younger alert is not expired: a lagging replica of MEDIA answers, or a server that can't read it.
YOUNG_S = 5.0
_DAY_S = 24 * 3600.0


class Store:
    """policies: the masks, and which cameras are never recorded."""

    def __init__(self, client: Client, decoders: Decoders, policies: Policies, settings: PicturesSettings) -> None:
        self._client = client
        self._decoders = decoders
        self._policies = policies
        self._width = settings.pictures_width
        self._log = logger("pictures")

    async def store(self, alert: Incident, heads: Mapping[str, str], age_s: float) -> Outcome:
        """Make and store the picture of an alert. heads: of its message. age_s: its age in EVENTS.

        Raises Unread if the camera's masks can't be read, BadSegment if it is no segment, Refusal if it can't be
        decoded; Full, Unstorable or BusError if it can't be stored; nats.errors.Error or TimeoutError if the server
        does not answer.
        """
        masks, policy = self._policies.masks(alert.camera), self._policies.of(alert.camera)
        if policy.record == "never":
            await self.explain(alert, heads, "the policy of recordings of its camera is 'never'")
            return "excluded"
        try:
            coded = await frame.fetch(self._client.jetstream(), alert)
        except Expired as e:
            if age_s < YOUNG_S:
                raise Unread("its video is not in MEDIA yet, for the server that was asked") from e
            await self.explain(alert, heads, str(e))
            return "expired"
        jpeg, time = await self._picture(alert, coded, masks)
        await bus.publish(
            self._client,
            self._client.jetstream(),
            _subject(alert),
            jpeg,
            pictures.headers(alert, heads, time, most_s=policy.incidents_days * _DAY_S),
            patience_s=PATIENCE_S,
            waits_for_room=False,
        )
        return "stored"

    async def _picture(self, alert: Incident, coded: CodedFrame, masks: Sequence[Mask]) -> tuple[bytes, dt.datetime]:
        """Return a frame as JPEG, and its time: of the main stream if that has more pixels, and can be decoded.

        Raises as `store` does.
        """
        if larger := await frame.fetch_larger(self._client, alert, coded, self._width):
            try:
                return await self._decode(larger, masks)
            except Refusal as e:
                self._log.warning(
                    "a picture is of the substream: the main stream's can't be decoded",
                    camera=alert.camera,
                    reason=str(e),
                )
        return await self._decode(coded, masks)

    async def _decode(self, coded: CodedFrame, masks: Sequence[Mask]) -> tuple[bytes, dt.datetime]:
        answer = await self._decoders.picture(
            coded.payload,
            before=coded.before,
            offset=coded.offset,
            width=self._width,
            frames=coded.segment.frames,
            masks=masks,
            most_bytes=PICTURE_BYTES,
        )
        return answer.jpeg, coded.segment.start + dt.timedelta(seconds=answer.offset)

    async def explain(self, alert: Incident, heads: Mapping[str, str], reason: str) -> None:
        """Store why there is no picture, unless there is one. Raises nats.errors.Error or TimeoutError."""
        subject, headers = _subject(alert), pictures.absent_headers(alert, heads, reason)
        try:
            await self._client.jetstream().publish(subject, b"", headers=headers, timeout=bus.PUBLISH_TIMEOUT_S)
        except APIError as e:
            if e.err_code != _TAKEN:
                raise


def _subject(alert: Incident) -> str:
    return names.picture(alert.camera, alert.incident)
