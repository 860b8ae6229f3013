"""The service pictures over a real NATS server, with real video: stored, masked, once, and beyond MEDIA's retention."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client
from nats.js.api import DiscardPolicy

from services.ingest.cutting.piece import Piece
from shared.client import pictures
from shared.contract import deadletters, names
from shared.contract.events import Alert, Incident
from shared.contract.topology import PICTURE_BYTES
from shared.runtime.errors import Refusal
from shared.video.pictures import jpeg, jpeg_within
from tests.support.video.video_world import number, path, pieces, pixels, publish, seconds, source
from tests.support.waiting import patience_s, until
from tests.support.worlds.pictures_world import alert_of, alerted, all_handled, counts, keeping, letters, mask
from tidegate.local.server import NatsServer

__all__ = ["path", "pieces", "seconds", "source"]
# The left upper quarter.
QUARTER = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))


@pytest.mark.slow
async def test_a_picture_outlives_its_video(
    server: NatsServer, admin: Client, pieces: list[Piece], source: list[np.ndarray]
) -> None:
    """The frame is in a segment that is decoded from two earlier ones."""
    seqs = await publish(admin, pieces)
    dependent = next(n for n, piece in enumerate(pieces) if piece.dependent and pieces[n + 1].dependent) + 1
    piece = pieces[dependent]
    before = counts()
    async with keeping(server):
        await alerted(admin, alert := alert_of(piece, seqs[dependent], offset_s=0.4))
        await all_handled(admin)
    await admin.jetstream().purge_stream(names.MEDIA)
    found = await pictures.read(admin, "cam", alert.incident)
    near = round((piece.segment.start - pieces[0].segment.start).total_seconds() * 25) + 10
    assert number(pixels(found.jpeg), source, near) == near
    assert found.time is not None and abs((found.time - alert.snapshot.time).total_seconds()) < 0.04
    assert (await pictures.read(admin, "*", alert.incident)).jpeg == found.jpeg
    assert counts()["stored"] - before["stored"] == 1 and await letters(admin) == []
    (stored,) = [await admin.jetstream().get_last_msg(names.PICTURES, names.picture("cam", alert.incident))]
    assert stored.headers and stored.headers["Camera"] == "cam" and stored.headers["Content-Type"] == "image/jpeg"


async def test_nothing_that_a_mask_hides_is_stored(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    (seq,) = await publish(admin, [piece])
    await mask(admin, [QUARTER])
    async with keeping(server, pictures_width=160):
        await alerted(admin, first := alert_of(piece, seq))
        await all_handled(admin)
        # A mask of a running service applies to the next alert.
        await mask(admin, [((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0))])
        await asyncio.sleep(0.5)
        await alerted(admin, second := alert_of(piece, seq, 2))
        await all_handled(admin)
    one, other = [pixels((await pictures.read(admin, "cam", a.incident)).jpeg) for a in (first, second)]
    height, width = one.shape[:2]
    assert width == 160
    assert one[: height // 2, : width // 2].max() <= 24 and other[height // 2 :, width // 2 :].max() <= 24
    assert one[height // 2 + 8 :, width // 2 + 8 :].max() > 60 and other[: height // 2 - 8, : width // 2 - 8].max() > 60


async def test_an_unreadable_policy_stores_nothing_until_it_is_read(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    (seq,) = await publish(admin, [piece])
    bucket = await admin.jetstream().key_value(names.RECORDINGS)
    await bucket.put("camera.cam", b'{"masks": "all of it"}')
    async with keeping(server) as health:
        await alerted(admin, alert := alert_of(piece, seq))
        await until(lambda: "policy of cam can't be read" in str(health.ready))
        assert (await admin.jetstream().stream_info(names.PICTURES)).state.messages == 0
        await mask(admin, [QUARTER])
        await all_handled(admin)
        assert health.ready is None
    assert pixels((await pictures.read(admin, "cam", alert.incident)).jpeg)[:100, :100].max() <= 24


async def test_a_camera_that_is_never_recorded_has_no_pictures(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    (seq,) = await publish(admin, [piece])
    await mask(admin, record="never")
    async with keeping(server):
        await alerted(admin, alert := alert_of(piece, seq))
        await all_handled(admin)
    with pytest.raises(Refusal, match=r"the policy of recordings of its camera is 'never'"):
        await pictures.read(admin, "cam", alert.incident)


async def test_a_retention_of_incidents_that_is_shorter_applies(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    (seq,) = await publish(admin, [piece])
    await mask(admin, incidents_days=5 / 86400)
    async with keeping(server):
        await alerted(admin, alert := alert_of(piece, seq))
        await all_handled(admin)
    await pictures.read(admin, "cam", alert.incident)

    async with asyncio.timeout(patience_s()):
        while (await admin.jetstream().stream_info(names.PICTURES)).state.messages:
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_expired_video_is_reported_and_never_tried_for_ever(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    (seq,) = await publish(admin, [piece])
    await admin.jetstream().purge_stream(names.MEDIA)
    before = counts()
    async with keeping(server):
        await alerted(admin, alert := alert_of(piece, seq))
        await all_handled(admin)
    with pytest.raises(Refusal, match=r"is stored: its video had expired in MEDIA before the picture was made"):
        await pictures.read(admin, "cam", alert.incident)
    assert counts()["expired"] - before["expired"] == 1 and await letters(admin) == []


async def test_an_incident_that_waits_for_a_verification_has_its_picture_before_its_alert(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece, js = seconds()[0], admin.jetstream()
    (seq,) = await publish(admin, [piece])
    fields = msgspec.structs.asdict(alert_of(piece, seq)) | {"verification": "pending"}
    async with keeping(server):
        await alerted(admin, Incident(**fields | {"verification": "none", "incident": "no.alert"}), "1")
        await alerted(admin, Incident(**fields), "2")
        await alerted(admin, Incident(**fields | {"state": "update"}), "3")
        await all_handled(admin)
        stored = await pictures.read(admin, "cam", fields["incident"])
        assert (await js.stream_info(names.PICTURES)).state.last_seq == 1
        await js.purge_stream(names.MEDIA)
        await alerted(admin, Alert(**fields | {"verification": "unverified"}), "4")
        await all_handled(admin)
    assert await pictures.read(admin, "cam", fields["incident"]) == stored


@pytest.mark.slow
async def test_a_replay_stores_nothing_twice_and_never_replaces_a_picture(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    (seq,) = await publish(admin, [piece])
    alert = alert_of(piece, seq)
    async with keeping(server):
        await alerted(admin, alert, "first")
        await all_handled(admin)
        await alerted(admin, alert, "again")
        await all_handled(admin)
        state = (await admin.jetstream().stream_info(names.PICTURES)).state
        assert (state.messages, state.last_seq) == (1, 1)
        stored = await pictures.read(admin, "cam", alert.incident)
        # Its video has expired meanwhile.
        await admin.jetstream().purge_stream(names.MEDIA)
        await alerted(admin, alert, "late")
        await all_handled(admin)
    assert await pictures.read(admin, "cam", alert.incident) == stored


async def test_unreadable_video_and_foreign_alerts_are_dead_letters(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    good, *_ = cut = seconds()
    broken = cut[1]._replace(payload=os.urandom(2000))
    seqs = await publish(admin, [good, broken])
    (foreign,) = await publish(admin, [cut[2]], "other")
    before = counts()
    async with keeping(server) as health:
        await alerted(admin, spoiled := alert_of(broken, seqs[1], 1))
        await alerted(admin, alert_of(good, foreign, 2))
        await admin.jetstream().publish("events.alerts.cam", b"no alert")
        await alerted(admin, last := alert_of(good, seqs[0], 3))
        await all_handled(admin)
        assert health.ready is None
    assert (await pictures.read(admin, "cam", last.incident)).jpeg
    with pytest.raises(Refusal, match=r"its video can't be decoded"):
        await pictures.read(admin, "cam", spoiled.incident)
    reasons = " ".join(letter.reason for letter in await letters(admin))
    assert "there is no picture of this video" in reasons and "no segment of camera cam" in reasons
    assert "not an event of alerts" in reasons and counts()["unreadable"] - before["unreadable"] == 3


async def test_a_full_stream_keeps_the_alert(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece, js = seconds()[0], admin.jetstream()
    (seq,) = await publish(admin, [piece])
    config = (await js.stream_info(names.PICTURES)).config
    await js.update_stream(config.evolve(discard=DiscardPolicy.NEW, max_bytes=1000))
    async with keeping(server) as health:
        await alerted(admin, alert := alert_of(piece, seq))
        await until(lambda: "maximum bytes exceeded" in str(health.ready))
        assert (await js.consumer_info(names.EVENTS, names.PICTURE)).num_ack_pending == 1
        await js.update_stream(config)
        await all_handled(admin)
        assert health.ready is None
    assert (await pictures.read(admin, "cam", alert.incident)).jpeg and await letters(admin) == []


async def test_erasing_a_camera_leaves_the_others(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    alerts = []
    async with keeping(server):
        for n, camera in enumerate(("cam", "cam2")):
            (seq,) = await publish(admin, [piece], camera)
            alerts.append(alert_of(piece, seq, n, camera=camera))
            await alerted(admin, alerts[-1])
        await all_handled(admin)
    assert await pictures.erase(admin.jetstream(), "cam") == 1
    assert await pictures.erase(admin.jetstream(), "cam") == 0
    with pytest.raises(Refusal, match="no picture of incident"):
        await pictures.read(admin, "cam", alerts[0].incident)
    assert (await pictures.read(admin, "cam2", alerts[1].incident)).jpeg


async def test_a_replayed_letter_of_another_service_is_not_for_us(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]]
) -> None:
    piece = seconds()[0]
    async with keeping(server):
        headers = {deadletters.REPLAY_FOR: "webhook"}
        await admin.jetstream().publish("events.alerts.cam", b"{}", headers=headers)
        await all_handled(admin)
    assert await letters(admin) == [] and piece


def test_a_noisy_picture_gets_a_lower_quality_and_then_a_smaller_size() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1080, 1920, 3), np.uint8)
    assert len(jpeg(noise)) > 4 * PICTURE_BYTES
    small = jpeg_within(noise, PICTURE_BYTES)
    assert len(small) <= PICTURE_BYTES and 640 <= pixels(small).shape[1] < 1920
    plain = np.full((1080, 1920, 3), 90, np.uint8)
    assert jpeg_within(plain, PICTURE_BYTES) == jpeg(plain)
