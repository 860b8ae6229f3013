"""Incidents are verified by vlm, and alert by their rules."""

from __future__ import annotations

import msgspec
import pytest
from nats.aio.client import Client

from shared.contract import events, names
from shared.contract.events import Alert, Incident
from shared.contract.work import jobs
from tests.support.video.walking_people import detections, publish
from tests.support.worlds.analytics_world import (
    ACROSS,
    ASKING,
    BACK,
    incidents,
    running,
    until,
    use,
    verdict,
)
from tests.support.worlds.verdicts import fill_vlm, tell
from tidegate.local.server import NatsServer


async def test_an_incident_is_verified_and_becomes_an_alert(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", ASKING)
    async with running(server):
        await publish(admin, detections([ACROSS], 7))
        (begun,) = incidents([e for _, e in await until(admin, lambda f: incidents(f, "start"))], "start")
        raw = await admin.jetstream().get_msg(names.VLM, subject="jobs.vlm.verify.lobby")
        request = jobs.decode(raw.subject or "", raw.data or b"")
        assert isinstance(request, jobs.Verify)
        assert (request.incident, request.prompt, request.rule) == (begun.incident, "Is a person at the door?", "in")
        assert request.segments == [s.seq for s in begun.segments]
        await tell(admin, verdict(begun, "confirmed"))
        found = [e for _, e in await until(admin, lambda f: any(isinstance(e, Alert) for e in f))]
    (alert,) = [e for e in found if isinstance(e, Alert)]
    assert begun.verification == "pending"
    assert (alert.incident, alert.verification, alert.reason) == (
        begun.incident,
        "confirmed",
        "one person, at the door",
    )


async def test_a_rejected_incident_is_no_alert(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", ASKING)
    async with running(server):
        await publish(admin, detections([ACROSS], 7))
        (begun,) = incidents([e for _, e in await until(admin, lambda f: incidents(f, "start"))], "start")
        await tell(admin, verdict(begun, "rejected"))
        found = [e for _, e in await until(admin, lambda f: incidents(f, "update"))]
        await publish(admin, detections([ACROSS], 14)[7:])
        found = [e for _, e in await until(admin, lambda f: incidents(f, "end"))]
    assert incidents(found, "update")[0].verification == "rejected"
    assert incidents(found, "end")[0].verification == "rejected"
    assert not [e for e in found if isinstance(e, Alert)]


async def test_an_incident_without_a_timely_verdict_is_an_unverified_alert(server: NatsServer, admin: Client) -> None:
    """The model is dead, or at zero replicas: nothing answers."""
    await use(admin, "lobby", ASKING)
    async with running(server, analytics_verify_s=1.0):
        await publish(admin, detections([ACROSS], 7))
        found = [e for _, e in await until(admin, lambda f: any(isinstance(e, Alert) for e in f))]
        (alert,) = [e for e in found if isinstance(e, Alert)]
        assert (alert.verification, alert.reason) == ("unverified", "no verdict within 1 s")
        assert incidents(found, "update")[0].verification == "unverified"
        # A rejection that comes after the alert is an update of the same incident.
        await tell(admin, verdict(alert, "rejected"))
        found = [e for _, e in await until(admin, lambda f: len(incidents(f, "update")) == 2)]
    assert incidents(found, "update")[1].verification == "rejected"
    assert incidents(found, "update")[1].incident == alert.incident
    assert len([e for e in found if isinstance(e, Alert)]) == 1


async def test_a_rule_can_suppress_unconfirmed_alerts(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", {**ASKING, "rules": [ASKING["rules"][0] | {"alert": "confirmed"}]})
    async with running(server, analytics_verify_s=1.0):
        await publish(admin, detections([ACROSS], 14))
        both = await until(admin, lambda f: incidents(f, "end") and incidents(f, "update"))
    found = [e for _, e in both]
    assert incidents(found, "update")[0].verification == "unverified"
    assert not [e for e in found if isinstance(e, Alert)]


async def test_a_full_job_queue_blocks_nothing_else(server: NatsServer, admin: Client) -> None:
    await fill_vlm(admin)
    await use(admin, "lobby", ASKING)
    async with running(server):
        await publish(admin, detections([ACROSS, BACK], 20))
        both = await until(
            admin,
            lambda f: (
                len(incidents(f, "end")) == len(incidents(f, "update")) == sum(isinstance(e, Alert) for e in f) == 2
            ),
        )
        found = [e for _, e in both]
    assert [i.verification for i in incidents(found, "update")] == ["unverified"] * 2
    assert "takes no more questions" in incidents(found, "update")[0].reason
    alerts = [e for e in found if isinstance(e, Alert)]
    assert [a.verification for a in alerts] == ["unverified"] * 2
    assert {a.incident for a in alerts} == {i.incident for i in incidents(found, "start")}


async def test_the_last_event_of_an_unverifiable_incident_is_unverified_and_ended(
    server: NatsServer, admin: Client
) -> None:
    """One read has the segments of its start and its end."""
    await fill_vlm(admin)
    await use(admin, "lobby", ASKING)
    await publish(admin, detections([ACROSS], 14))
    async with running(server):
        found = [e for _, e in await until(admin, lambda f: incidents(f, "end") and incidents(f, "update"))]
    last = [e for e in found if type(e) is Incident][-1]
    assert last.verification == "unverified" and last.end is not None


@pytest.mark.parametrize("epoch", ["e\r\nNats-Msg-Id: x", "é☃", "a b.*>", "\x00"])
async def test_an_incident_of_any_epoch_is_verified(server: NatsServer, admin: Client, epoch: str) -> None:
    """Regression: vlm refused the job, and its alert came only after the timeout of the verdict."""
    await use(admin, "lobby", ASKING)
    async with running(server):
        for event in detections([ACROSS], 14):
            of = msgspec.structs.replace(event.segment, epoch=epoch)
            await publish(admin, [msgspec.structs.replace(event, segment=of)])
        found = await until(admin, lambda f: incidents(f, "end"))
    stored = await admin.jetstream().get_last_msg(names.VLM, "jobs.vlm.verify.lobby")
    job = jobs.decode(stored.subject or "", stored.data or b"")
    assert isinstance(job, jobs.Verify) and job.incident == incidents([e for _, e in found], "start")[0].incident


async def test_an_invalid_verdict_blocks_nothing(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", ASKING)
    js = admin.jetstream()
    async with running(server):
        await publish(admin, detections([ACROSS], 7))
        (begun,) = incidents([e for _, e in await until(admin, lambda f: incidents(f, "start"))], "start")
        for payload in (b"", b"\xff", b"[" * 100_000, b"{}", events.encode(verdict(begun, "rejected"))):
            await js.publish("events.verdicts.yard", payload, headers={"Status": "404"})
        await tell(admin, verdict(begun, "confirmed"))
        found = [e for _, e in await until(admin, lambda f: any(isinstance(e, Alert) for e in f))]
    assert [i.verification for i in incidents(found, "update")] == ["confirmed"]
