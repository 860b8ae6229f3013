"""The doors of the recorder: the video it records, its requests, and the files it reads back."""

from __future__ import annotations

import datetime as dt

import msgspec

from services.recorder.answering import _read
from services.recorder.tails import head_of
from shared.bus.direct import Stored
from shared.recordings import ledger, records
from shared.recordings.files import SegmentWithVideo, build_files
from shared.recordings.ledger import Last, Ledger
from shared.recordings.playing import groups_between, playlist
from shared.recordings.policies import Policies
from shared.recordings.queries import HoursRequest, RangeAnswer, RangeRequest, VideoRequest
from shared.recordings.records import Catalogue, Hour, HourTotals, Unreadable, hour_of
from shared.recordings.windows import Head, next_window
from shared.runtime.errors import BadSegment, Refusal
from shared.video import fmp4
from tests.fuzz import good, spoil
from tests.fuzz.delivery import headers_of
from tests.fuzz.door import Door
from tests.fuzz.refusal import refused


class NotRecorded(Exception):
    """No head was made of it."""


def _recorded(data: bytes) -> None:
    """A segment between two that are good, up to the bytes of their files. What is written is not much more."""
    subject, lines, payload = spoil.read_wire(data)
    stored = Stored(2, subject.decode(errors="replace"), good.START, headers_of(lines), payload)
    head = head_of(stored)
    if head is None:
        raise NotRecorded
    pieces = good.pieces()
    row = [
        SegmentWithVideo(Head(n, piece.segment, len(piece.payload)), piece.payload)
        for n, piece in ((1, pieces[0]), (3, pieces[1]))
    ]
    row.insert(1, SegmentWithVideo(head, payload))
    next_window([one.head for one in row], ended=True)
    videos, _ = build_files(row, "t")
    size = sum(sum(map(len, one.buffers)) for one in videos)
    assert size < 2 * sum(len(one.payload) for one in row) + 200_000
    assert sum(one.record.size for one in videos) == size
    hour = Hour(camera=head.segment.camera, hour=hour_of(good.START), files=tuple(one.record for one in videos))
    assert records.decode(records.encode(hour), Hour) == hour


def _group(data: bytes) -> None:
    fmp4.later(data, 90_000, 7)


def _groups() -> list[bytes]:
    piece = good.pieces()[0]
    (videos,), _ = build_files([SegmentWithVideo(Head(1, piece.segment, len(piece.payload)), piece.payload)], "t")
    data = b"".join(videos.buffers)
    return [data[group.begin : group.end] for group in videos.record.groups]


def _index(data: bytes) -> None:
    hour = records.decode(data, Hour)
    row = groups_between(hour.files, hour.hour, hour.hour + records.HOUR)
    playlist(row, head=lambda play: play.headed, group=lambda play: str(play.n))
    msgspec.json.encode(RangeAnswer(camera=hour.camera, plays=row, holes=list(hour.holes)))
    records.encode(Catalogue(camera=hour.camera).having(HourTotals.of(hour)).adding(HourTotals.of(hour)))
    for file in hour.files:
        file.at(hour.hour)


def _hour() -> Hour:
    piece = good.pieces()[0]
    videos, holes = build_files([SegmentWithVideo(Head(1, piece.segment, len(piece.payload)), piece.payload)], "t")
    since = good.START
    hole = records.Hole(since=since, until=since + dt.timedelta(seconds=3), cause="camera")
    return Hour(camera="lobby", hour=hour_of(since), files=tuple(one.record for one in videos), holes=(*holes, hole))


def _ledger(data: bytes) -> None:
    found = ledger.decode(data)
    hour = ledger.open_hour("lobby", found)
    if hour:
        HourTotals.of(hour)
    head = Head(9, good.pieces()[0].segment, 1)
    ledger.hole_before(found.last, head, expired=True)
    ledger.encode(ledger.advance("lobby", found, [], [], Last.of(head)).ledger)


def _ledgers() -> list[bytes]:
    hour = _hour()
    last = Last(seq=7, epoch="e", n=6, end=good.START)
    return [ledger.encode(Ledger(last=last, hour=hour.hour, files=hour.files, holes=hour.holes))]


def _catalogue(data: bytes) -> None:
    found = records.decode(data, Catalogue)
    found.adding(HourTotals.of(_hour()))


def _policy(data: bytes) -> None:
    Policies({"default": data, "camera.lobby": b'{"hold": true}'}).of("lobby")


DOORS = (
    Door("recorder.segment", good.segment_messages, _recorded, (NotRecorded,), spoil.message(spoil.as_mp4), share=0.5),
    Door("recorder.group", _groups, _group, (BadSegment,), spoil.as_mp4),
    Door("recorder.index", lambda: [records.encode(_hour())], _index, (Unreadable,), spoil.as_json, share=0.5),
    Door("recorder.ledger", _ledgers, _ledger, (Unreadable,), spoil.as_json, share=0.5),
    Door(
        "recorder.catalogue",
        lambda: [records.encode(Catalogue(camera="lobby").having(HourTotals.of(_hour())))],
        _catalogue,
        (Unreadable,),
        spoil.as_json,
        share=0.3,
    ),
    Door(
        "recorder.policy", lambda: [b'{"record": "activity", "labels": ["a"]}'], _policy, (), spoil.as_json, share=0.3
    ),
    Door(
        "recorder.range",
        lambda: good.as_json({"camera": "lobby", "since": good.SINCE, "until": good.UNTIL, "skip": 3}),
        refused(lambda data: _read(data, RangeRequest)),
        (Refusal,),
        spoil.as_json,
        share=0.3,
    ),
    Door(
        "recorder.video",
        lambda: good.as_json({"camera": "lobby", "file": "lobby/2026-11-29/10/0000-ab-0.mp4", "begin": 1, "end": 2}),
        refused(lambda data: _read(data, VideoRequest)),
        (Refusal,),
        spoil.as_json,
        share=0.3,
    ),
    Door(
        "recorder.hours",
        lambda: good.as_json({"camera": "lobby"}),
        refused(lambda data: _read(data, HoursRequest)),
        (Refusal,),
        spoil.as_json,
        share=0.2,
    ),
)
