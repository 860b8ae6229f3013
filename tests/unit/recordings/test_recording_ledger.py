"""However often the recorder is killed, each segment is in one listed file, and none is lost."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.recordings import ledger as ledgers
from shared.recordings.ledger import Last, Ledger, advance, merge_hours
from shared.recordings.records import Hole, Hour, Recorded, file_key, hour_of

BEGIN = dt.datetime(2026, 11, 29, 9, 50, tzinfo=dt.UTC)


class Killed(Exception):
    pass


class World:
    """A store, an entry, and a recorder that is killed at any of its steps. times: when each segment was filmed."""

    def __init__(self, times: list[dt.datetime], kills: list[int]) -> None:
        self.times = times
        self.kills = kills
        self.files: dict[str, Recorded] = {}
        self.hours: dict[dt.datetime, Hour] = {}
        self.entry = ledgers.encode(Ledger())
        self.tries = 0
        self._done = 0

    def run(self) -> None:
        while True:
            try:
                while self._step():
                    pass
            except Killed:
                continue
            return

    def _may_die(self) -> None:
        self._done += 1
        if self._done in self.kills:
            raise Killed

    def _step(self) -> bool:
        """Read from its place on, as much as is there; make files of it, one for each hour it is in."""
        self.tries += 1
        ledger = ledgers.decode(self.entry)
        seqs = list(range(ledger.position, len(self.times) + 1))[: 1 + self.tries % 4]
        if not seqs:
            return False
        created: list[Recorded] = []
        for seq in seqs:
            start = self.times[seq - 1]
            if created and hour_of(created[-1].start) == hour_of(start):
                created[-1] = msgspec.structs.replace(
                    created[-1], last_seq=seq, last_n=seq, segments=created[-1].segments + 1
                )
            else:
                created.append(self._file(seq, start))
        for file in created:
            self._may_die()
            self.files[file.key] = file
        self._may_die()
        hole = Hole(since=created[0].start, until=created[0].start, cause="camera", segments=seqs[0])
        end = self.times[seqs[-1] - 1] + dt.timedelta(seconds=1)
        step = advance("cam", ledger, created, [hole], Last(seq=seqs[-1], epoch="e", n=seqs[-1], end=end))
        assert 0 < step.taken <= len(created)
        if step.closed:
            before = self.hours.get(step.closed.hour)
            self.hours[step.closed.hour] = merge_hours(before, step.closed)
            self._may_die()
        self.entry = ledgers.encode(step.ledger)
        self._may_die()
        return True

    def _file(self, seq: int, start: dt.datetime) -> Recorded:
        return Recorded(
            key=file_key("cam", start, f"{self.tries}-{seq}"), start=start, end=start + dt.timedelta(seconds=1),
            codec="c", width=1, height=1, track="t", timescale=1, early=0, init=1, head=1, groups_ms=(0,), sizes=(1,),
            first_seq=seq, last_seq=seq, epoch="e", last_n=seq, segments=1,
        )  # fmt: skip


@given(
    st.lists(st.sampled_from([1, 1, 1, 300, 2400, 7200, -3000]), max_size=40),
    st.lists(st.integers(1, 150), max_size=30),
)
def test_each_segment_is_in_one_listed_file(steps: list[int], kills: list[int]) -> None:
    times, at = [], BEGIN
    for step in steps:
        at += dt.timedelta(seconds=step)
        times.append(at)
    world = World(times, kills)
    world.run()
    last = ledgers.decode(world.entry)
    hours = dict(world.hours)
    if last.hour:
        now = Hour(camera="cam", hour=last.hour, files=last.files, holes=last.holes)
        hours[last.hour] = merge_hours(hours.get(last.hour), now)
    seen = [file for hour in hours.values() for file in hour.files]
    seqs = Counter(seq for file in seen for seq in range(file.first_seq, file.last_seq + 1))
    assert seqs == Counter(range(1, len(times) + 1))
    assert last.position == len(times) + 1 and all(file.key in world.files for file in seen)
    for hour in hours.values():
        assert all(hour_of(file.start) == hour.hour for file in hour.files)
        assert len({file.key for file in hour.files}) == len(hour.files)
        assert [file.start for file in hour.files] == sorted(file.start for file in hour.files)
        assert len({hole.segments for hole in hour.holes}) == len(hour.holes), "a hole is told of once"
