"""Replicas, reasons, cameras and attention on the page Now."""

from __future__ import annotations

import datetime as dt
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.cameras.state_tracker import CameraReport, CameraStateTracker
from services.console.now.attention import attention
from services.console.now.bus_monitor import BusMonitor, unix
from services.console.now.camera_states import CameraNow, CameraStates
from services.console.now.model import ServiceNow
from services.console.now.reasons import reason
from services.console.now.replicas import SILENCE_S, Fleet
from services.console.now.series import ring as rings
from services.console.now.series.ring import PILES, SERIES, TIERS, Ring, Sample, fold
from services.console.web.refused import Refused
from services.scaler.demand.estimate import Estimate
from shared.contract import events
from shared.contract.events import CameraStatus, Quality, VideoStatus
from shared.contract.questions.explain import Explanation, Explanations
from shared.contract.work import stats
from shared.runtime.errors import TidegateError
from tests.support.worlds.now_bodies import NOW, beat

# Seconds that add up to the bit: one beat that comes as late as it may is not too late for a rounding.
SPANS = st.integers(0, round(128 * SILENCE_S)).map(lambda n: n / 64)


@given(
    st.lists(
        st.tuples(SPANS, st.floats(0, 1.0), st.sampled_from(["loading", "ready", "draining"])),
        max_size=60,
    )
)
def test_every_replica_second_is_busy_idle_or_warming(beats: list[tuple[float, float, str]]) -> None:
    fleet, now, working, lived = Fleet(0.0), 1.0, 0.0, 0.0
    fleet.beat("cv-0", beat(), now)
    for later, share, state in beats:
        now, working = now + later, working + later * share
        lived += later if later <= SILENCE_S else 0.0
        fleet.beat("cv-0", beat(working, state=state), now)
        fleet.tick(now)
    s = fleet.spent
    assert s.used_s == pytest.approx(lived, abs=1e-6)
    assert s.busy_s + s.idle_s + s.warming_s == pytest.approx(s.used_s, abs=1e-6)
    assert min(s.busy_s, s.idle_s, s.warming_s, s.saved_s) >= 0
    if all(later <= SILENCE_S for later, _, _ in beats):
        assert s.busy_s == pytest.approx(working, abs=1e-6)


def test_an_early_heartbeat_loses_no_work() -> None:
    fleet = Fleet(0.0)
    for n, at in enumerate((0.0, 0.9, 2.0, 2.9, 4.0)):
        fleet.beat("cv-0", beat(float(n)), at)
    assert fleet.spent.busy_s == pytest.approx(4.0) and fleet.spent.idle_s == pytest.approx(0.0)


def test_savings_are_relative_to_a_fleet_of_the_peak_size() -> None:
    fleet = Fleet(0.0)
    for at in range(11):
        for replica in ("cv-0", "cv-1") if at <= 4 else ("cv-0",):
            fleet.beat(replica, beat(float(at)), float(at))
        fleet.tick(float(at))
    assert fleet.spent.peak == 2 and fleet.spent.used_s == 14 and fleet.spent.saved_s == 6
    assert fleet.count(10.0, "ready") == 1 and [r.replica for r in fleet.replicas(10.0)] == ["cv-0"]


def test_a_replica_has_its_rates_and_the_time_of_an_item() -> None:
    fleet = Fleet(0.0)
    fleet.beat("cv-0", beat(device="cuda:1"), 0.0)
    [replica] = fleet.replicas(0.0)
    assert (replica.device, replica.rate, replica.busy_rate, replica.item_ms) == ("cuda:1", 0.0, None, None)
    for at in range(1, 61):
        done = msgspec.structs.replace(beat(0.5 * at, processed=4 * at, items=20 * at), busy_s=0.2 * at)
        fleet.beat("cv-0", done, float(at))
    [replica] = fleet.replicas(60.0)
    assert replica.rate == pytest.approx(4.0, rel=0.1) and replica.busy_rate == 8.0 and replica.item_ms == 10.0


def test_deferred_and_backfilled_frames_are_counted_across_restarts() -> None:
    fleet = Fleet(0.0)
    fleet.beat("cv-0", beat(frames_wanted=100, frames_analysed=100), 0.0)
    fleet.beat("cv-0", beat(frames_wanted=150, frames_analysed=110, backfilled=2), 1.0)
    fleet.beat("cv-0", beat(frames_wanted=0, frames_analysed=0, pid=2), 2.0)
    fleet.beat("cv-0", beat(frames_wanted=10, frames_analysed=5, backfilled=1, pid=2), 3.0)
    assert (fleet.frames_wanted, fleet.frames_analysed, fleet.backfilled) == (60, 15, 3)
    assert fleet.deferred_share(3.0) == pytest.approx(0.75, abs=0.05)


def test_a_deployment_is_reported_once_and_a_returning_replica_is_none() -> None:
    fleet = Fleet(0.0)
    assert not fleet.beat("tidegate-cv-6f5c9d8b7-x2x4q", beat(model="yolo"), 1.0)
    assert not fleet.beat("tidegate-cv-6f5c9d8b7-aaaaa", beat(model="", state="loading", pid=2), 50.0)
    assert not fleet.beat("tidegate-cv-6f5c9d8b7-aaaaa", beat(model="yolo", pid=2), 51.0)
    assert "yolo" in fleet.beat("tidegate-cv-7777777777-bbbbb", beat(model="yolo"), 60.0)
    assert not fleet.beat("tidegate-cv-7777777777-ccccc", beat(model="yolo"), 61.0)
    assert "detr" in fleet.beat("tidegate-cv-7777777777-ddddd", beat(model="detr"), 62.0)
    assert "started anew" in fleet.beat("tidegate-cv-7777777777-ddddd", beat(model="detr", pid=9), 63.0)
    assert "started anew" in fleet.beat("tidegate-cv-7777777777-ddddd", beat(model="detr", pid=9, uptime_s=0.1), 63.5)
    # A draining replica was released on purpose.
    fleet.beat("cv-0", beat(model="yolo", state="draining"), 70.0)
    assert not fleet.beat("cv-0", beat(model="yolo", state="draining", pid=3), 200.0)


@given(st.lists(st.binary(max_size=300), max_size=5), st.text(max_size=20))
def test_no_heartbeat_segment_or_event_stops_the_console(datas: list[bytes], name: str) -> None:
    bus = BusMonitor(0.0)
    good = stats.encode(beat())
    for data in (*datas, good[:-1], good, b'{"frames": [1e999]}', b"[" * 2000):
        bus.beat(f"scale.cv.{name}", data, 1.0, NOW)
        bus.beat(f"scale.{name}.x", data, 1.0, NOW)
        for kind in ("detections", "cameras", "video", "revisions.detections", "incidents", name):
            bus.event(kind, name, data, 1.0)
    for size in ("", "x", "-1", "9" * 400, "1e9"):
        headers = {"Nats-Msg-Size": size, "Nats-Sequence": size, "Nats-Time-Stamp": size}
        bus.segment(f"media.{name}", headers, 1.0)
    bus.segment("media.x", None, 1.0)
    for service in bus.services.values():
        service.now(2.0, 1.0)


def test_timestamps_in_nanoseconds_are_parsed() -> None:
    assert unix("2026-11-29T12:00:00.123456789Z") == pytest.approx(NOW.timestamp() + 0.123456789, abs=1e-6)
    assert unix("2026-11-29T12:00:00Z") == NOW.timestamp()


def explained(estimate: Estimate, **more: object) -> Explanations:
    terms = msgspec.to_builtins(estimate)
    e = Explanation(service="cv", of="consumer cv", terms=terms, settings={}, lines=estimate.explain(), **more)  # type: ignore[arg-type]
    return Explanations(by="scaler", services=["cv"], found=[e])


BASE = {"replicas": 3.0, "active": True, "basis": "demand", "service_rate": 5.0, "ready": 2, "warming": 1}


@pytest.mark.parametrize(
    ("terms", "decides", "says"),
    [
        ({"arrival_replicas": 2.0, "backlog_replicas": 1.0}, "arrivals", "arrivals call for 2.00"),
        (
            {"arrival_replicas": 1.0, "backlog_replicas": 2.0, "backlog": 40},
            "backlog",
            "40 messages wait or are in work",
        ),
        (
            {"arrival_replicas": 1.0, "expiry_replicas": 2.0, "expiring": 30},
            "due",
            "30 deferred segments will soon lose their video",
        ),
        ({"arrival_replicas": 1.0, "backlog_replicas": -0.9, "held_replicas": 3.0}, "held", "3.00 are held"),
        ({"basis": "lag", "backlog_replicas": 2.0, "backlog": 12}, "backlog", "12 messages wait or are in work"),
        ({"basis": "lag", "backlog_replicas": 0.5, "held_replicas": 2.0}, "held", "2.00 are held"),
        ({"active": False, "replicas": 0.0}, "nothing", "0.00 replicas"),
    ],
)
def test_the_deciding_term_has_the_sentence_of_explain(terms: dict[str, object], decides: str, says: str) -> None:
    found = reason([explained(Estimate(**{**BASE, **terms}))])  # type: ignore[arg-type]
    assert found and found.decides == decides and says in found.sentence
    assert (found.ready, found.warming, found.by) == (2, 1, "scaler")


def test_the_query_with_the_highest_demand_is_the_reason_and_old_ones_are_ignored() -> None:
    few, many = Estimate(**{**BASE, "replicas": 1.0}), Estimate(**{**BASE, "replicas": 4.0})  # type: ignore[arg-type]
    old = Estimate(**{**BASE, "replicas": 9.0})  # type: ignore[arg-type]
    found = reason([explained(few), explained(many), explained(old, asked_s=100.0)])
    assert found and found.wanted == 4.0
    assert reason([]) is None


def test_a_failed_or_invalid_explanation_gives_no_number() -> None:
    found = reason([explained(Estimate(**BASE), error="the consumer is gone")])  # type: ignore[arg-type]
    assert found and found.wanted is None and found.decides == "unknown" and found.sentence == "the consumer is gone"
    odd = Explanation(
        service="cv", of="x", terms={"replicas": "many", "ready": math.inf}, settings={"latency_target_s": True}
    )
    found = reason([Explanations(by="x", services=[], found=[odd])])
    assert found and found.wanted is None and found.ready is None and found.target_s == 0
    cameras = Explanation(service="ingest", of="enabled cameras", terms={"replicas": 0.1, "cameras": 3.0}, settings={})
    found = reason([Explanations(by="x", services=[], found=[cameras])])
    assert found and found.decides == "cameras" and found.sentence == "3 enabled cameras"


def event_of(state: str, at: dt.datetime = NOW) -> CameraStatus:
    return CameraStatus(camera="lobby", time=at, state=state, reason="it is off", url="rtsp://x/", ingest="i")  # type: ignore[arg-type]


def status(state: str) -> CameraReport:
    tracker = CameraStateTracker()
    tracker.add_status(event_of(state))
    return tracker.report(True, NOW)


def unreadable(at: dt.datetime) -> VideoStatus:
    return VideoStatus(
        camera="lobby",
        time=at,
        state="unreadable",
        cause="budget",
        reason="too much",
        since=at,
        segments=3,
        service="cv",
        replica="r",
    )


def test_cameras_are_listed_by_urgency_with_their_state_and_rates() -> None:
    seen = CameraStates(0.0)
    for n in range(1, 30):
        seen.add_segment("lobby", 1000, float(n))
        seen.add_detections("lobby", 5, Quality(fps=1, wanted=5, cause="backlog"), float(n))
    reports = {"lobby": status("online"), "yard": status("offline"), "new": CameraStateTracker().report(True, NOW)}
    found = seen.cameras(reports, 30.0)
    assert [(c.id, c.state) for c in found] == [("yard", "offline"), ("lobby", "online"), ("new", "connecting")]
    lobby = found[1]
    assert lobby.segments == pytest.approx(1, abs=0.1) and lobby.bytes == pytest.approx(1000, rel=0.1)
    assert lobby.deferred_share == pytest.approx(0.8, abs=0.01)
    tracker = CameraStateTracker()
    for event in (event_of("online"), event_of("offline", NOW - dt.timedelta(hours=1)), unreadable(NOW)):
        tracker.add_status(event)
    (lobby,) = seen.cameras({"lobby": tracker.report(True, NOW)}, 30.0)
    assert (lobby.state, lobby.reason) == ("unreadable", "too much")
    assert tracker.report(True, NOW + dt.timedelta(hours=1)).state == "online"
    assert seen.cameras({"lobby": tracker.report(False, NOW)}, 30.0)[0].state == "disabled"
    assert seen.cameras({"lobby": CameraReport("unusable", "no url")}, 30.0)[0].state == "disabled"


def test_lost_work_is_reported_for_an_hour() -> None:
    seen = CameraStates(0.0)
    seen.add_lost("lobby", "expired", 10.0)
    assert seen.cameras({"lobby": status("online")}, 20.0)[0].lost == 1
    assert seen.cameras({"lobby": status("online")}, 3700.0)[0].lost == 0
    seen.forget_removed([])
    assert seen.cameras({"lobby": status("online")}, 20.0)[0].lost == 0


def service(**fields: object) -> ServiceNow:
    return ServiceNow(**{"name": "cv", "state": "working", "late_s": 10.0, "age_s": 0.0, **fields})  # type: ignore[arg-type]


def kinds(*services: ServiceNow, cameras: list[CameraNow] | None = None, **more: bool) -> list[str]:
    found = attention(services, cameras or [], **{"connected": True, "scaler": True, **more})
    return [a.kind for a in found]


def test_only_problems_that_do_not_heal_need_attention() -> None:
    assert kinds(service(), service(state="starting", pending=5, age_s=9.0)) == []
    assert kinds(service(age_s=11.0)) == ["late"]
    assert kinds(service(state="missing", pending=5, age_s=11.0)) == ["missing"]
    assert kinds(service(expired=3), service(age_s=11.0), scaler=False) == ["expired", "late", "scaler"]
    assert kinds(service(age_s=None, error="JetStream has not answered")) == ["unknown"]
    assert kinds(service(expired=3), connected=False) == ["server"]
    off = [CameraNow(id="yard", state="offline", reason="it is off"), CameraNow(id="lobby", state="online", lost=2)]
    assert kinds(cameras=off) == ["camera", "lost"]


@given(
    st.lists(st.tuples(st.floats(0.0, 400.0), st.none() | st.floats(0, 1e6)), min_size=1, max_size=150),
    st.sampled_from(["arriving", "pending"]),
    st.sampled_from([5.0, 60.0, 600.0]),
)
def test_the_ring_returns_the_added_samples(adds: list[tuple[float, float | None]], series: str, step: float) -> None:
    """Each step is the mean, or the most, of what was added in it. What piles up loses no peak in any tier."""
    ring, at, added = Ring(["cv"]), 1_796_000_000.0, {}
    start = at
    for later, value in adds:
        at += later
        ring.add("cv", Sample(**{series: value}), at)
        added.setdefault(int(at // step), []).append(math.nan if value is None else value)
    since = max(start // step * step, at - TIERS[[t.step_s for t in TIERS].index(step)].span_s + step)
    since = since // step * step
    until = (at // step + 1) * step
    found = ring.read("cv", since, until, step, ring.tier(since, step, at))[series]
    assert len(found) == round((until - since) / step)
    for i, value in enumerate(found):
        wanted = fold(series, added.get(int((since + i * step) // step), []))
        assert value == (None if wanted is None else pytest.approx(wanted, rel=1e-5, abs=1e-5))


@pytest.mark.slow
def test_a_long_range_is_coarser_and_loses_no_peak() -> None:
    ring, start = Ring(["cv"]), 1_796_000_000.0 // 600 * 600
    for i in range(0, 3 * 86_400, 5):
        ring.add("cv", Sample(pending=1000.0 if i == 5000 else 1.0, arriving=2.0), start + i)
    now = start + 3 * 86_400
    assert [ring.tier(now - ago, 5.0, now).step_s for ago in (3600, 3700, 86_600, 10**7)] == [5, 60, 600, 600]
    found = ring.read("cv", start, now, 600.0, TIERS[2])
    assert len(found["pending"]) == 432 and max(v for v in found["pending"] if v is not None) == 1000
    assert set(found["arriving"]) == {2.0} and set(found["wanted"]) == {None}
    assert len([v for v in ring.read("cv", now - 3600, now, 5.0, TIERS[0])["arriving"] if v is not None]) == 720


@pytest.mark.slow
def test_the_ring_takes_its_stated_memory_and_ignores_unknown_services() -> None:
    ring = Ring(["cv"])
    ring.add("nobody", Sample(arriving=1.0), 1e9)
    assert ring.began is None
    size = sum(
        len(values) * values.itemsize
        for tier in ring._buffers["cv"]
        for values in (*tier._values.values(), tier._steps)
    )
    assert size < 210_000 and sum(t.points for t in TIERS) == 3168 and len(SERIES) == 14 and set(SERIES) > PILES
    # A clock that is set back for ever.
    for i in range(3000):
        ring.add("cv", Sample(arriving=1.0), 1e9 - i / 1e6)
    assert all(len(parts) <= 1000 for tier in ring._buffers["cv"] for parts in tier._parts.values())
    assert TIERS[0].step_s == rings.STEP_S


def test_a_clock_ahead_hides_no_later_sample() -> None:
    ring = Ring(["cv"])
    ring.add("cv", Sample(arriving=9.0), 2e9)
    ring.add("cv", Sample(arriving=1.0), 1.8e9)
    assert ring.read("cv", 1.8e9, 1.8e9 + 5, 5.0, TIERS[0])["arriving"] == [1.0]


def test_refusals_are_tidegate_errors() -> None:
    assert issubclass(Refused, TidegateError) and events.KINDS
