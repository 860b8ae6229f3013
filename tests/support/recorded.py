"""Values and their bytes, as former versions stored and sent them."""

from __future__ import annotations

import datetime as dt

from services.analytics.camera.order import OrderProgress
from services.analytics.camera.state import CameraState
from services.analytics.incidents.state import (
    IncidentsState,
    Open,
    PendingVerification,
    Ref,
    ReportedCase,
    RuleState,
    Standing,
)
from services.analytics.partitions.partition import Position
from services.analytics.second_pass.state import (
    Book,
    ComparisonState,
    EpisodeState,
    FoundIncident,
    FoundMinute,
    FoundPart,
    LateState,
    SecondPassState,
)
from services.analytics.tracking import counts as minutes
from services.analytics.tracking.objects import Elsewhere, FollowedObject, Membership, Side, Spot
from services.analytics.tracking.tracker import TrackerState, Tracklet
from shared.contract.events import (
    Counts,
    Crossings,
    Heat,
    Incident,
    IncidentObject,
    Presence,
    Seen,
    SegmentRef,
    Snapshot,
    Timing,
    Usage,
    Verdict,
    Visits,
)
from shared.contract.questions import search
from shared.contract.work import backfill, jobs, stats, usage
from shared.recordings import ledger
from shared.recordings.policy import EffectivePolicy
from shared.recordings.queries import ListedFile, RecordingTotals, TotalsAnswer
from shared.recordings.records import Catalogue, Cut, Hole, HourTotals, Recorded

BEGIN = dt.datetime(2026, 11, 24, 13, 5, 7, tzinfo=dt.UTC)
END = dt.datetime(2026, 11, 24, 13, 5, 9, tzinfo=dt.UTC)
HOUR = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)
BOX = (0.25, 0.5, 0.75, 1.0)
INCIDENT = Incident(
    camera="lobby",
    incident="i-17",
    state="end",
    rule="door",
    condition="enter",
    severity="critical",
    start=BEGIN,
    end=END,
    time=END,
    zone="hall",
    line="gate",
    direction="in",
    value=2.5,
    objects=[IncidentObject(id="k3f9-1", label="person", score=0.5, box=BOX)],
    segments=[SegmentRef(stream="MEDIA", seq=7, epoch="k3f9", n=4)],
    snapshot=Snapshot(stream="MEDIA", seq=7, time=END),
    verification="confirmed",
    confidence=0.75,
    reason="a person",
    late=True,
    not_found=True,
)
PENDING = PendingVerification(incident=INCIDENT, deadline=1234.5, alert="start", unverified=True, alerted=True)
CAMERA = CameraState(
    seq=71,
    waiting=[72, 74],
    place=OrderProgress(
        epoch="k3f9",
        next=5,
        first_seq=2,
        newest=9,
        reached=1000.5,
        past=["j2e8"],
        past_next={"j2e8": 3},
        skipped=[(1, 3)],
    ),
    id_prefix="k3f9",
    count=6,
    tracker=TrackerState(
        time=1000.25,
        count=4,
        tracklets=[Tracklet(1, "person", 0.5, 0.25, 0.125, 0.5, 0.25, 0.75, 0.5, 0.25, 0.125, unseen=0.5, hits=3)],
    ),
    followed={
        1: FollowedObject(
            id="k3f9-1",
            votes={"person": 1.5},
            score=0.5,
            box=BOX,
            first=990.5,
            last=1000.5,
            still_box=BOX,
            still_since=995.5,
            hits=12,
            path=[Spot(1000.5, BOX, 0.5)],
            last_event_time=998.5,
            last_event_zones=["hall"],
            steps=[(1000.5, 0.25, 0.5)],
            zones={"hall": Membership(inside=True, since=992.5, crossed_at=993.5, turning=True)},
            lines={"gate": Side(side=-1, met=994.5)},
            elsewhere=Elsewhere(left_at=996.5, box=BOX, since=997.5),
        )
    },
    incidents=IncidentsState(
        by_rule={
            "door": RuleState(
                standing={
                    "k3f9-1": Standing(
                        since=991.5,
                        last=999.5,
                        case=ReportedCase(objects=INCIDENT.objects, value=2.5, direction="out"),
                        is_suppressed=True,
                        open=Open(incident=INCIDENT, last_event_time=998.5, joined=True),
                    )
                },
                last_start=991.5,
                about="enter hall",
            )
        },
        pending={"i-17": PENDING},
        set_backs=2,
    ),
    minute=minutes.Minute(
        number=29_000_000,
        time=1000.5,
        seconds=7.5,
        labels={"person": minutes._Presence(most=2, seconds=3.5, objects=1)},
        zones={"hall": {"person": minutes._Visits(most=2, seconds=3.5, entered=3, left=1, stayed_s=1.5)}},
        lines={"gate": {"person": minutes._Crossings(into=1, out=2)}},
        heat={17: 0.5},
    ),
    trail=[Ref("MEDIA", 7, "k3f9", 4, 999.5, 1000.5)],
    frames=[1000.25],
    last_frame_time=1000.5,
    last_active=1001.5,
    width=1280,
    height=720,
    model="ssd",
    is_second_pass=True,
)
COUNTS = Counts(
    camera="lobby",
    start=BEGIN,
    end=END,
    seconds=7.5,
    labels={"person": Presence(objects=1, most=2, seconds=3.5)},
    zones={"hall": {"person": Visits(entered=3, left=1, most=2, seconds=3.5, stayed_s=1.5)}},
    lines={"gate": {"person": Crossings(into=1, out=2)}},
    heat=Heat(columns=1, rows=1, seconds=[0.5]),
    revises="analytics/counts/lobby/29000000/0",
)
FOUND_INCIDENT = FoundIncident(
    incident=INCIDENT,
    seen_at=998.5,
    until=999.5,
    same=["i-18"],
    judged=True,
    is_unmatched=True,
    pending_events=[INCIDENT],
)
FOUND_PART = FoundPart(counts=COUNTS, id="analytics/counts/lobby/29000000/0", seen_at=1000.5)
VERDICT = Verdict(
    camera="lobby",
    job="verify/lobby/i-17",
    start=BEGIN,
    end=END,
    model="qwen",
    frames=[Seen(seq=7, time=END)],
    cause="late",
    reason="too late",
    timing=Timing(queued_ms=1.5, decode_ms=2.5, infer_ms=3.5),
    usage=Usage(prompt_tokens=1, completion_tokens=2, first_token_ms=3.5),
    incident="i-17",
    rule="door",
    verdict="uncertain",
    confidence=0.5,
)
SECOND_PASSES = SecondPassState(
    episodes=[
        EpisodeState(
            next=81,
            verdicts=82,
            last=1002.5,
            newest=83,
            live=CAMERA,
            second_pass=CAMERA,
            books=[Book(after=70, rules=b"rules: []")],
            comparison=ComparisonState(
                live={"i-17": FOUND_INCIDENT},
                second_pass={"i-18": FOUND_INCIDENT},
                minutes={29_000_000: FoundMinute(live=[FOUND_PART], second_pass=[FOUND_PART])},
                now=1003.5,
            ),
            waiting=2,
        )
    ],
    late=LateState(pending={"i-17": PENDING}, lasting={"i-17": INCIDENT}, early={"i-19": VERDICT}),
)
WORKER_STATS = stats.WorkerStats(
    service="cv",
    replica="cv-0",
    pid=17,
    state="draining",
    model="ssd",
    uptime_s=1.5,
    in_flight=2,
    processed=3,
    failed=4,
    items=5,
    busy_s=6.5,
    working_s=7.5,
    wanted_s=8.5,
    work_s=9.5,
    frames_wanted=10,
    frames_analysed=11,
    frames_never=14,
    backfilled=12,
    backfilling_s=13.5,
    reason="no endpoint",
    device="cpu",
)
WORKER_USAGE = usage.WorkerUsage(
    process="k3f9x2",
    n=4,
    since=1796000000,
    until=1796000600,
    is_last=True,
    arrivals={"cv": {29933333: 7}},
    loading_s=1.5,
    processed=2,
    failed=3,
    unchanged=4,
    busy_s=5.5,
    working_s=6.5,
    wanted_s=7.5,
    work_s=8.5,
    frames_wanted=9,
    frames_analysed=10,
    frames_never=13,
    backfilled=11,
    backfilling_s=12.5,
)
INGEST_USAGE = usage.IngestUsage(
    process="k3f9x2",
    n=4,
    since=1796000000,
    until=1796000600,
    is_last=True,
    cameras={"lobby": usage.CameraUsage(first=29933333, segments=[60, 59], seconds=119, megabytes=12.5, frames=2975)},
)
FOUND = search.Found(
    moments=[
        search.Moment(
            camera="lobby",
            start=BEGIN,
            end=END,
            time=END,
            seq=7,
            id="embed/clip/MEDIA/7#0",
            similarity=0.25,
            score=0.5,
            by=["vectors", "labels"],
            labels=["person"],
            box=BOX,
            hits=3,
            has_video=True,
            picture=b"jpeg",
            run="r-1",
        )
    ],
    model="clip",
    pending=2,
    note="by labels alone",
    vocabulary=["person"],
)
FILE = Recorded(
    key="lobby/2026-11-24/13/0507-ab12.mp4",
    start=BEGIN,
    end=END,
    codec="avc1.64001f",
    width=1280,
    height=720,
    track="ab12",
    timescale=90000,
    early=1,
    init=2,
    head=3,
    groups_ms=(0, 1000),
    sizes=(400, 300),
    first_seq=6,
    last_seq=7,
    epoch="k3f9",
    last_n=4,
    segments=2,
    cuts=(Cut(6, 3, 0, 1000, 25), Cut(7, 4, 1000, 1000, 25)),
    incident=True,
    keyframes=True,
)
HOLE = Hole(since=HOUR, until=BEGIN, cause="dropped", segments=3)
LEDGER = ledger.Ledger(
    last=ledger.Last(seq=7, epoch="k3f9", n=4, end=END, main=True), hour=HOUR, files=(FILE,), holes=(HOLE,), off=True
)
SUM = HourTotals(hour=HOUR, seconds=2.5, size=703, files=1, lost={"dropped": 1.5}, policy_applied=True, incident=True)
CATALOGUE = Catalogue(camera="lobby", hours=(SUM,))
POLICY = EffectivePolicy(
    record="incidents",
    rest="keyframes",
    labels=("person",),
    zones=("hall",),
    before_s=1.5,
    after_s=2.5,
    keep_days=3.5,
    incidents_days=4.5,
    most_gb=5.5,
    hold=True,
    masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),),
)
TOTALS = TotalsAnswer(
    cameras=[
        RecordingTotals(
            camera="lobby",
            seconds=2.5,
            size=703,
            lost={"dropped": 1.5},
            first=BEGIN,
            last=END,
            policy=POLICY,
            goes=END,
            hours=[SUM],
            files=[ListedFile(key=FILE.key, start=BEGIN, end=END, size=703, incident=True, goes=END, keyframes=True)],
            holes=[HOLE],
        )
    ]
)
BACKFILL = backfill.Backfill(
    camera="lobby",
    stream="MEDIA",
    seq=7,
    revises="cv/ssd/MEDIA/7",
    frames=3,
    segment=SegmentRef(stream="MEDIA", seq=7, epoch="k3f9", n=4),
    start=BEGIN,
    duration=2.5,
    model="ssd",
    dimension=512,
)
VERIFY = jobs.Verify(
    camera="lobby",
    id="j-1",
    wait_s=5.5,
    incident="i-17",
    prompt="Is it a person?",
    segments=[7],
    rule="door",
    start=BEGIN,
    end=END,
)
CAPTION = jobs.Caption(camera="lobby", id="j-1", wait_s=5.5, start=BEGIN, end=END, prompt="What happens?", always=True)
POSITION = Position(seq=70, verdicts=71, first_event=72)
POSITION_BYTES = b'{"seq":70,"verdicts":71,"said":72}'
CAMERA_BYTES = (
    b"\xde\x00\x11\xa3seqG\xa4held\x92HJ\xa5place\x88\xa5epoch\xa4k3f9\xa4next\x05\xa5begun\x02\xa6newest\t\xa7reac"
    b"hed\xcb@\x8fD\x00\x00\x00\x00\x00\xa4past\x91\xa4j2e8\xa4left\x81\xa4j2e8\x03\xa7skipped\x91\x92\x01\x03\xa4b"
    b"orn\xa4k3f9\xa5count\x06\xa7tracker\x83\xa4time\xcb@\x8fB\x00\x00\x00\x00\x00\xa5count\x04\xa9tracklets\x91"
    b"\x9d\x01\xa6person\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xc0\x00\x00\x00\x00"
    b"\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00"
    b"\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xc0\x00\x00\x00\x00\x00\x00\xcb?\xe0"
    b"\x00\x00\x00\x00\x00\x00\x03\xa8followed\x81\x01\xde\x00\x10\xa2id\xa6k3f9-1\xa5votes\x81\xa6person\xcb?\xf8"
    b"\x00\x00\x00\x00\x00\x00\xa5score\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00"
    b"\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa5fi"
    b"rst\xcb@\x8e\xf4\x00\x00\x00\x00\x00\xa4last\xcb@\x8fD\x00\x00\x00\x00\x00\xa9still_box\x94\xcb?\xd0\x00\x00"
    b"\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00"
    b"\x00\x00\xabstill_since\xcb@\x8f\x1c\x00\x00\x00\x00\x00\xa4seen\x0c\xa4path\x91\x93\xcb@\x8fD\x00\x00\x00"
    b"\x00\x00\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00"
    b"\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa4told\xcb@\x8f4\x00\x00\x00\x00\x00"
    b"\xaazones_told\x91\xa4hall\xa5steps\x91\x93\xcb@\x8fD\x00\x00\x00\x00\x00\xcb?\xd0\x00\x00\x00\x00\x00\x00"
    b"\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa5zones\x81\xa4hall\x94\xc3\xcb@\x8f\x04\x00\x00\x00\x00\x00\xcb@\x8f\x0c"
    b"\x00\x00\x00\x00\x00\xc3\xa5lines\x81\xa4gate\x92\xff\xcb@\x8f\x14\x00\x00\x00\x00\x00\xa9elsewhere\x93\xcb@"
    b"\x8f$\x00\x00\x00\x00\x00\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00"
    b"\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xcb@\x8f,\x00\x00\x00\x00\x00\xa9incidents\x83\xa7by_ru"
    b"le\x81\xa4door\x83\xa8standing\x81\xa6k3f9-1\x85\xa5since\xcb@\x8e\xfc\x00\x00\x00\x00\x00\xa4last\xcb@\x8f<"
    b"\x00\x00\x00\x00\x00\xa5found\x83\xa7objects\x91\x84\xa2id\xa6k3f9-1\xa5label\xa6person\xa5score\xcb?\xe0\x00"
    b"\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8"
    b"\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa5value\xcb@\x04\x00\x00\x00\x00\x00\x00\xa9direct"
    b"ion\xa3out\xa9kept_back\xc3\xa4open\x83\xa8incident\xde\x00\x15\xa6camera\xa5lobby\xa8incident\xa4i-17"
    b"\xa5state"
    b"\xa3end\xa4rule\xa4door\xa9condition\xa5enter\xa8severity\xa8critical\xa5start\xd6\xffk\x05\x8b\x83\xa3end"
    b"\xd6\xffk\x05\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zone\xa4hall\xa4line\xa4gate\xa9direction\xa2in\xa5valu"
    b"e\xcb@\x04\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84\xa2id\xa6k3f9-1\xa5label\xa6person\xa5score\xcb?\xe0"
    b"\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?"
    b"\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa8segments\x91\x84\xa6stream\xa5MEDIA\xa3seq"
    b"\x07\xa5epoch\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream\xa5MEDIA\xa3seq\x07\xa4time\xd6\xffk\x05\x8b\x85\xac"
    b"verification\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00\x00\x00\x00\x00\xa6reason\xa8a person\xa4late\xc3"
    b"\xa9not_found\xc3\xa4told\xcb@\x8f4\x00\x00\x00\x00\x00\xa6joined\xc3\xa5begun\xcb@\x8e\xfc\x00\x00\x00\x00"
    b"\x00\xa5about\xaaenter hall\xa5asked\x81\xa4i-17\x85\xa8incident\xde\x00\x15\xa6camera\xa5lobby\xa8incident"
    b"\xa4i-17\xa5state\xa3end\xa4rule\xa4door\xa9condition\xa5enter\xa8severity\xa8critical\xa5start\xd6\xffk\x05"
    b"\x8b\x83\xa3end\xd6\xffk\x05\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zone\xa4hall\xa4line\xa4gate\xa9directio"
    b"n\xa2in\xa5value\xcb@\x04\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84\xa2id\xa6k3f9-1\xa5label\xa6person"
    b"\xa5score"
    b"\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00"
    b"\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa8segments\x91\x84\xa6stream\xa5MEDIA"
    b"\xa3seq\x07\xa5epoch\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream\xa5MEDIA\xa3seq\x07\xa4time\xd6\xffk\x05\x8b"
    b"\x85\xacverification\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00\x00\x00\x00\x00\xa6reason\xa8a person\xa4lat"
    b"e\xc3\xa9not_found\xc3\xa8deadline\xcb@\x93J\x00\x00\x00\x00\x00\xa5alert\xa5start\xaaunverified\xc3\xa7alert"
    b"ed\xc3\xa9set_backs\x02\xa6minute\x87\xa6number\xce\x01\xba\x81@\xa4time\xcb@\x8fD\x00\x00\x00\x00\x00\xa7sec"
    b"onds\xcb@\x1e\x00\x00\x00\x00\x00\x00\xa6labels\x81\xa6person\x83\xa4most\x02\xa7seconds\xcb@\x0c\x00\x00\x00"
    b"\x00\x00\x00\xa7objects\x01\xa5zones\x81\xa4hall\x81\xa6person\x85\xa4most\x02\xa7seconds\xcb@\x0c\x00\x00"
    b"\x00\x00\x00\x00\xa7entered\x03\xa4left\x01\xa8stayed_s\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa5lines\x81\xa4gate"
    b"\x81\xa6person\x82\xa4into\x01\xa3out\x02\xa4heat\x81\x11\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa5trail\x91\x96"
    b"\xa5MEDIA\x07\xa4k3f9\x04\xcb@\x8f<\x00\x00\x00\x00\x00\xcb@\x8fD\x00\x00\x00\x00\x00\xa6frames\x91\xcb@\x8fB"
    b"\x00\x00\x00\x00\x00\xa6looked\xcb@\x8fD\x00\x00\x00\x00\x00\xa5heard\xcb@\x8fL\x00\x00\x00\x00\x00\xa5width"
    b"\xcd\x05\x00\xa6height\xcd\x02\xd0\xa5model\xa3ssd\xa5again\xc3"
)
SECOND_PASSES_BYTES = (
    b"\x82\xa8episodes\x91\x89\xa4nextQ\xa8verdictsR\xa4last\xcb@\x8fT\x00\x00\x00\x00\x00\xa6newestS\xa4live"
    + CAMERA_BYTES
    + b"\xa7settled"
    + CAMERA_BYTES
    + b"\xa5books\x91\x82\xa5afterF\xa5rules\xc4\trules: []\xaacomparison\x84\xa4live\x81\xa4i-17\x87\xa8incident\xde"
    b"\x00\x15\xa6camera\xa5lobby\xa8incident\xa4i-17\xa5state\xa3end\xa4rule\xa4door\xa9condition\xa5enter\xa8seve"
    b"rity\xa8critical\xa5start\xd6\xffk\x05\x8b\x83\xa3end\xd6\xffk\x05\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zo"
    b"ne\xa4hall\xa4line\xa4gate\xa9direction\xa2in\xa5value\xcb@\x04\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84"
    b"\xa2id\xa6k3f9-1\xa5label\xa6person\xa5score\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00"
    b"\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00"
    b"\x00\xa8segments\x91\x84\xa6stream\xa5MEDIA\xa3seq\x07\xa5epoch\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream"
    b"\xa5MEDIA\xa3seq\x07\xa4time\xd6\xffk\x05\x8b\x85\xacverification\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00"
    b"\x00\x00\x00\x00\xa6reason\xa8a person\xa4late\xc3\xa9not_found\xc3\xa4seen\xcb@\x8f4\x00\x00\x00\x00\x00\xa5"
    b"until\xcb@\x8f<\x00\x00\x00\x00\x00\xa4same\x91\xa4i-18\xa6judged\xc3\xa5alone\xc3\xa4held\x91\xde\x00\x15"
    b"\xa6camera\xa5lobby\xa8incident\xa4i-17\xa5state\xa3end\xa4rule\xa4door\xa9condition\xa5enter\xa8severity\xa8"
    b"critical\xa5start\xd6\xffk\x05\x8b\x83\xa3end\xd6\xffk\x05\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zone\xa4ha"
    b"ll\xa4line\xa4gate\xa9direction\xa2in\xa5value\xcb@\x04\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84\xa2id\xa6k"
    b"3f9-1\xa5label\xa6person\xa5score\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00"
    b"\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa8se"
    b"gments\x91\x84\xa6stream\xa5MEDIA\xa3seq\x07\xa5epoch\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream\xa5MEDIA\xa3"
    b"seq\x07\xa4time\xd6\xffk\x05\x8b\x85\xacverification\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00\x00\x00\x00"
    b"\x00\xa6reason\xa8a person\xa4late\xc3\xa9not_found\xc3\xa7settled\x81\xa4i-18\x87\xa8incident\xde\x00\x15"
    b"\xa6camera\xa5lobby\xa8incident\xa4i-17\xa5state\xa3end\xa4rule\xa4door\xa9condition\xa5enter\xa8severity\xa8"
    b"critical\xa5start\xd6\xffk\x05\x8b\x83\xa3end\xd6\xffk\x05\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zone\xa4ha"
    b"ll\xa4line\xa4gate\xa9direction\xa2in\xa5value\xcb@\x04\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84\xa2id\xa6k"
    b"3f9-1\xa5label\xa6person\xa5score\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00"
    b"\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa8se"
    b"gments\x91\x84\xa6stream\xa5MEDIA\xa3seq\x07\xa5epoch\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream\xa5MEDIA\xa3"
    b"seq\x07\xa4time\xd6\xffk\x05\x8b\x85\xacverification\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00\x00\x00\x00"
    b"\x00\xa6reason\xa8a person\xa4late\xc3\xa9not_found\xc3\xa4seen\xcb@\x8f4\x00\x00\x00\x00\x00\xa5until\xcb@"
    b"\x8f<\x00\x00\x00\x00\x00\xa4same\x91\xa4i-18\xa6judged\xc3\xa5alone\xc3\xa4held\x91\xde\x00\x15\xa6camera"
    b"\xa5lobby\xa8incident\xa4i-17\xa5state\xa3end\xa4rule\xa4door\xa9condition\xa5enter\xa8severity\xa8critical"
    b"\xa5start\xd6\xffk\x05\x8b\x83\xa3end\xd6\xffk\x05\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zone\xa4hall\xa4li"
    b"ne\xa4gate\xa9direction\xa2in\xa5value\xcb@\x04\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84\xa2id\xa6k3f9-1"
    b"\xa5label\xa6person\xa5score\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb"
    b"?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa8segments"
    b"\x91\x84\xa6stream\xa5MEDIA\xa3seq\x07\xa5epoch\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream\xa5MEDIA\xa3seq"
    b"\x07\xa4time\xd6\xffk\x05\x8b\x85\xacverification\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00\x00\x00\x00\x00"
    b"\xa6reason\xa8a person\xa4late\xc3\xa9not_found\xc3\xa7minutes\x81\xce\x01\xba\x81@\x82\xa4live\x91\x83\xa6co"
    b"unts\x89\xa6camera\xa5lobby\xa5start\xd6\xffk\x05\x8b\x83\xa3end\xd6\xffk\x05\x8b\x85\xa7seconds\xcb@\x1e\x00"
    b"\x00\x00\x00\x00\x00\xa6labels\x81\xa6person\x83\xa7objects\x01\xa4most\x02\xa7seconds\xcb@\x0c\x00\x00\x00"
    b"\x00\x00\x00\xa5zones\x81\xa4hall\x81\xa6person\x85\xa7entered\x03\xa4left\x01\xa4most\x02\xa7seconds\xcb@"
    b"\x0c\x00\x00\x00\x00\x00\x00\xa8stayed_s\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa5lines\x81\xa4gate\x81\xa6person"
    b"\x82\xa2in\x01\xa3out\x02\xa4heat\x83\xa7columns\x01\xa4rows\x01\xa7seconds\x91\xcb?\xe0\x00\x00\x00\x00\x00"
    b"\x00\xa7revises\xd9!analytics/counts/lobby/29000000/0\xa2id\xd9!analytics/counts/lobby/29000000/0\xa4seen\xcb"
    b"@\x8fD\x00\x00\x00\x00\x00\xa7settled\x91\x83\xa6counts\x89\xa6camera\xa5lobby\xa5start\xd6\xffk\x05\x8b\x83"
    b"\xa3end\xd6\xffk\x05\x8b\x85\xa7seconds\xcb@\x1e\x00\x00\x00\x00\x00\x00\xa6labels\x81\xa6person\x83\xa7objec"
    b"ts\x01\xa4most\x02\xa7seconds\xcb@\x0c\x00\x00\x00\x00\x00\x00\xa5zones\x81\xa4hall\x81\xa6person\x85\xa7ente"
    b"red\x03\xa4left\x01\xa4most\x02\xa7seconds\xcb@\x0c\x00\x00\x00\x00\x00\x00\xa8stayed_s\xcb?\xf8\x00\x00\x00"
    b"\x00\x00\x00\xa5lines\x81\xa4gate\x81\xa6person\x82\xa2in\x01\xa3out\x02\xa4heat\x83\xa7columns\x01\xa4rows"
    b"\x01\xa7seconds\x91\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa7revises\xd9!analytics/counts/lobby/29000000/0\xa2id"
    b"\xd9!analytics/counts/lobby/29000000/0\xa4seen\xcb@\x8fD\x00\x00\x00\x00\x00\xa3now\xcb@\x8f\\\x00\x00\x00"
    b"\x00\x00\xa7waiting\x02\xa4late\x83\xa5asked\x81\xa4i-17\x85\xa8incident\xde\x00\x15\xa6camera\xa5lobby\xa8in"
    b"cident\xa4i-17\xa5state\xa3end\xa4rule\xa4door\xa9condition\xa5enter\xa8severity\xa8critical\xa5start\xd6\xff"
    b"k\x05\x8b\x83\xa3end\xd6\xffk\x05\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zone\xa4hall\xa4line\xa4gate\xa9dir"
    b"ection\xa2in\xa5value\xcb@\x04\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84\xa2id\xa6k3f9-1\xa5label\xa6person"
    b"\xa5score\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00"
    b"\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa8segments\x91\x84\xa6stream"
    b"\xa5MEDIA\xa3seq\x07\xa5epoch\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream\xa5MEDIA\xa3seq\x07\xa4time\xd6\xffk"
    b"\x05\x8b\x85\xacverification\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00\x00\x00\x00\x00\xa6reason\xa8a perso"
    b"n\xa4late\xc3\xa9not_found\xc3\xa8deadline\xcb@\x93J\x00\x00\x00\x00\x00\xa5alert\xa5start\xaaunverified\xc3"
    b"\xa7alerted\xc3\xa7lasting\x81\xa4i-17\xde\x00\x15\xa6camera\xa5lobby\xa8incident\xa4i-17\xa5state\xa3end\xa4"
    b"rule\xa4door\xa9condition\xa5enter\xa8severity\xa8critical\xa5start\xd6\xffk\x05\x8b\x83\xa3end\xd6\xffk\x05"
    b"\x8b\x85\xa4time\xd6\xffk\x05\x8b\x85\xa4zone\xa4hall\xa4line\xa4gate\xa9direction\xa2in\xa5value\xcb@\x04"
    b"\x00\x00\x00\x00\x00\x00\xa7objects\x91\x84\xa2id\xa6k3f9-1\xa5label\xa6person\xa5score\xcb?\xe0\x00\x00\x00"
    b"\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00"
    b"\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00\xa8segments\x91\x84\xa6stream\xa5MEDIA\xa3seq\x07\xa5epoch"
    b"\xa4k3f9\xa1n\x04\xa8snapshot\x83\xa6stream\xa5MEDIA\xa3seq\x07\xa4time\xd6\xffk\x05\x8b\x85\xacverification"
    b"\xa9confirmed\xaaconfidence\xcb?\xe8\x00\x00\x00\x00\x00\x00\xa6reason\xa8a person\xa4late\xc3\xa9not_found"
    b"\xc3\xa5early\x81\xa4i-19\x8e\xa6camera\xa5lobby\xa3job\xb1verify/lobby/i-17\xa5start\xd6\xffk\x05\x8b\x83"
    b"\xa3end\xd6\xffk\x05\x8b\x85\xa5model\xa4qwen\xa6frames\x91\x82\xa4time\xd6\xffk\x05\x8b\x85\xa3seq\x07\xa5ca"
    b"use\xa4late\xa6reason\xa8too late\xa6timing\x83\xa9queued_ms\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa9decode_ms"
    b"\xcb@\x04\x00\x00\x00\x00\x00\x00\xa8infer_ms\xcb@\x0c\x00\x00\x00\x00\x00\x00\xa5usage\x83\xadprompt_tokens"
    b"\x01\xb1completion_tokens\x02\xaefirst_token_ms\xcb@\x0c\x00\x00\x00\x00\x00\x00\xa8incident\xa4i-17\xa4rule"
    b"\xa4door\xa7verdict\xa9uncertain\xaaconfidence\xcb?\xe0\x00\x00\x00\x00\x00\x00"
)
WORKER_STATS_BYTES = (
    b'{"service":"cv","replica":"cv-0","pid":17,"state":"draining","model":"ssd","uptime_s":1.5,"held":2,"processe'
    b'd":3,"failed":4,"items":5,"busy_s":6.5,"working_s":7.5,"wanted_s":8.5,"work_s":9.5,"frames_wanted":10,"frame'
    b's_looked":11,"frames_never":14,"backfilled":12,"backfilling_s":13.5,"reason":"no endpoint","device":"cpu"}'
)
WORKER_USAGE_BYTES = (
    b'{"process":"k3f9x2","n":4,"since":1796000000,"until":1796000600,"is_last":true,"arrivals":{"cv":{"29933333":'
    b'7}},"loading_s":1.5,"processed":2,"failed":3,"unchanged":4,"busy_s":5.5,"working_s":6.5,"wanted_s":7.5,"work'
    b'_s":8.5,"frames_wanted":9,"frames_looked":10,"frames_never":13,"backfilled":11,"backfilling_s":12.5}'
)
INGEST_USAGE_BYTES = (
    b'{"process":"k3f9x2","n":4,"since":1796000000,"until":1796000600,"is_last":true,"cameras":{"lobby":[29933333,'
    b"[60,59],119,12.5,2975]}}"
)
FOUND_BYTES = (
    b'{"moments":[{"camera":"lobby","start":"2026-11-24T13:05:07Z","end":"2026-11-24T13:05:09Z","time":"2026-11-24'
    b'T13:05:09Z","seq":7,"id":"embed/clip/MEDIA/7#0","similarity":0.25,"score":0.5,"by":["vectors","labels"],"lab'
    b'els":["person"],"box":[0.25,0.5,0.75,1.0],"hits":3,"kept":true,"picture":"anBlZw==","run":"r-1"}],"model":"c'
    b'lip","pending":2,"note":"by labels alone","vocabulary":["person"]}'
)
LEDGER_BYTES = (
    b'{"last":{"seq":7,"epoch":"k3f9","n":4,"end":"2026-11-24T13:05:09Z","main":true},"hour":"2026-11-24T13:00:00Z",'
    b'"files":[{'
    b'"key":"lobby/2026-11-24/13/0507-ab12.mp4","start":"2026-11-24T13:05:07Z","end":"2026-11-24T13:05:09Z","codec'
    b'":"avc1.64001f","width":1280,"height":720,"track":"ab12","timescale":90000,"early":1,"init":2,"head":3,"grou'
    b'ps_ms":[0,1000],"sizes":[400,300],"first_seq":6,"last_seq":7,"epoch":"k3f9","last_n":4,"segments":2,"cuts":['
    b'[6,3,0,1000,25],[7,4,1000,1000,25]],"incident":true,"keyframes":true}],"holes":[{"since":"2026-11-24T13:00:0'
    b'0Z","until":"2026-11-24T13:05:07Z","cause":"dropped","segments":3}],"off":true}'
)
CATALOGUE_BYTES = (
    b'{"camera":"lobby","hours":[{"hour":"2026-11-24T13:00:00Z","seconds":2.5,"size":703,"files":1,"lost":{"droppe'
    b'd":1.5},"settled":true,"incident":true}]}'
)
TOTALS_BYTES = (
    b'{"cameras":[{"camera":"lobby","seconds":2.5,"size":703,"lost":{"dropped":1.5},"first":"2026-11-24T13:05:07Z"'
    b',"last":"2026-11-24T13:05:09Z","kept":{"record":"incidents","rest":"keyframes","labels":["person"],"zones":['
    b'"hall"],"before_s":1.5,"after_s":2.5,"keep_days":3.5,"incidents_days":4.5,"most_gb":5.5,"hold":true,"masks":'
    b'[[[0.0,0.0],[1.0,0.0],[1.0,1.0]]]},"goes":"2026-11-24T13:05:09Z","hours":[{"hour":"2026-11-24T13:00:00Z","se'
    b'conds":2.5,"size":703,"files":1,"lost":{"dropped":1.5},"settled":true,"incident":true}],"files":[{"key":"lob'
    b'by/2026-11-24/13/0507-ab12.mp4","start":"2026-11-24T13:05:07Z","end":"2026-11-24T13:05:09Z","size":703,"inci'
    b'dent":true,"goes":"2026-11-24T13:05:09Z","keyframes":true}],"holes":[{"since":"2026-11-24T13:00:00Z","until"'
    b':"2026-11-24T13:05:07Z","cause":"dropped","segments":3}]}]}'
)
BACKFILL_BYTES = (
    b'{"camera":"lobby","stream":"MEDIA","seq":7,"revises":"cv/ssd/MEDIA/7","frames":3,"segment":{"stream":"MEDIA"'
    b',"seq":7,"epoch":"k3f9","n":4},"start":"2026-11-24T13:05:07Z","duration":2.5,"model":"ssd","dimension":512}'
)
VERIFY_BYTES = (
    b'{"camera":"lobby","id":"j-1","wait_s":5.5,"incident":"i-17","prompt":"Is it a person?","segments":[7],"rule"'
    b':"door","start":"2026-11-24T13:05:07Z","end":"2026-11-24T13:05:09Z"}'
)
CAPTION_BYTES = (
    b'{"camera":"lobby","id":"j-1","wait_s":5.5,"start":"2026-11-24T13:05:07Z","end":"2026-11-24T13:05:09Z","promp'
    b't":"What happens?","always":true}'
)
_SCENE_OBJECT_BYTES = (
    b"\x91\x83\xa5label\xa6person\xa5score\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa3box\x94\xcb?\xd0\x00\x00\x00\x00\x00\x00"
    b"\xcb?\xe0\x00\x00\x00\x00\x00\x00\xcb?\xe8\x00\x00\x00\x00\x00\x00\xcb?\xf0\x00\x00\x00\x00\x00\x00"
)


def _scene(fields: bytes, doubted: bytes) -> bytes:
    """Return a scene whose reference is an array of that many `fields`, as MessagePack writes it."""
    return (
        b"\x85\xa7version\x01\xa4made\xa5ssd/5\xa9deviation\xc5\x0c\x00"
        + b"\x10" * 3072
        + b"\xa8pictures\xcb@!\x00\x00\x00\x00\x00\x00\xa5looks\x91"
        + fields
        + b"\xcb@\x8fD\x00\x00\x00\x00\x00\xcb?\xd0\x00\x00\x00\x00\x00\x00\xc5\x0c\x00"
        + b"\x07" * 3072
        + b"\x91"
        + _SCENE_OBJECT_BYTES
        + doubted
    )


SCENE_BYTES = _scene(b"\x95", _SCENE_OBJECT_BYTES)
# Of a replica that does not know doubted objects.
FORMER_SCENE_BYTES = _scene(b"\x94", b"")
