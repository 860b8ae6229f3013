"""Heartbeats into totals that only grow, whatever workers do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scaler.demand.observation import Workers
from services.scaler.live.heartbeats import MEMORY_S, MOST, SILENCE_S, Beat, Heartbeats
from tests.support.effort import assert_cheap
from tests.support.heartbeats import beat


def test_no_heartbeats_give_no_fleet() -> None:
    heartbeats = Heartbeats()
    assert heartbeats.fleet(0.0) is None
    heartbeats.beat(beat(), 1.0)
    assert heartbeats.fleet(1.0 + SILENCE_S) == Workers(ready=1, loading=0, processed=0, working_s=0)
    assert heartbeats.fleet(1.1 + SILENCE_S) is None


def test_states_are_counted_and_draining_replicas_are_excluded() -> None:
    heartbeats = Heartbeats()
    for n, state in enumerate(("ready", "ready", "loading", "draining")):
        heartbeats.beat(beat(f"cv-{n}", state=state), 0.0)
    fleet = heartbeats.fleet(0.0)
    assert fleet is not None and (fleet.ready, fleet.loading) == (2, 1)
    assert [r.replica for r in heartbeats.replicas(0.0)] == ["cv-0", "cv-1", "cv-2", "cv-3"]


def test_work_before_the_first_heartbeat_is_not_in_the_sum() -> None:
    heartbeats = Heartbeats()
    heartbeats.beat(beat(processed=1000, working_s=500), 0.0)
    heartbeats.beat(beat(processed=1010, working_s=501), 1.0)
    fleet = heartbeats.fleet(1.0)
    assert fleet is not None and (fleet.processed, fleet.working_s) == (10, 1)


def test_frames_that_no_replica_analyses_are_summed_over_replicas() -> None:
    heartbeats = Heartbeats()
    for replica in ("cv-0", "cv-1"):
        heartbeats.beat(beat(replica, wanted=5), 0.0)
        heartbeats.beat(beat(replica, wanted=10, never=4), 1.0)
    fleet = heartbeats.fleet(1.0)
    assert fleet is not None and (fleet.wanted, fleet.never) == (10, 8)


@pytest.mark.parametrize("pid", [1, 2])
def test_a_restarted_process_counts_from_zero(pid: int) -> None:
    heartbeats = Heartbeats()
    heartbeats.beat(beat(processed=0), 0.0)
    heartbeats.beat(beat(processed=50, working_s=5), 1.0)
    heartbeats.beat(beat(pid=pid, processed=4, working_s=1), 2.0)
    fleet = heartbeats.fleet(2.0)
    assert fleet is not None and (fleet.processed, fleet.working_s) == (54, 6)


def test_a_replica_continues_its_count_after_silence() -> None:
    heartbeats = Heartbeats()
    heartbeats.beat(beat(processed=0), 0.0)
    assert heartbeats.fleet(60.0) is None
    heartbeats.beat(beat(processed=100, working_s=50), 60.0)
    fleet = heartbeats.fleet(60.0)
    assert fleet is not None and fleet.processed == 100
    heartbeats.beat(beat("another"), 60.0 + 2 * MEMORY_S)
    assert list(heartbeats._last) == ["another"]


works = st.tuples(st.integers(0, 50), st.floats(0, 10, allow_nan=False))
steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(("work", "restart", "silence")), works, st.floats(0, 20)), max_size=60
)


@given(steps)
def test_totals_only_grow_and_include_every_heartbeat(history: list) -> None:  # type: ignore[type-arg]
    """Any workers, restarts and silences: the sums are what the processes did since each replica was first heard."""
    heartbeats = Heartbeats()
    now = 0.0
    processes: dict[int, Beat] = {}
    done = spent = 0.0
    last = (0.0, 0.0)
    for replica, what, (count, seconds), pause in history:
        now += pause
        before = processes.get(replica)
        if before is None or what == "restart":
            # Like a worker, each process reports `loading` before any work.
            processes[replica] = beat(f"cv-{replica}", pid=(before.pid if before else 0) + 1, state="loading")
        else:
            processes[replica] = beat(
                f"cv-{replica}", before.pid, processed=before.processed + count, working_s=before.working_s + seconds
            )
            done, spent = done + count, spent + seconds
        heartbeats.beat(processes[replica], now)
        fleet = heartbeats.fleet(now)
        assert fleet is not None
        assert (fleet.processed, fleet.working_s) >= last
        assert fleet.processed >= last[0] and fleet.working_s >= last[1]
        last = (fleet.processed, fleet.working_s)
        assert fleet.ready + fleet.loading <= len(processes)
    assert last[0] == pytest.approx(done)
    assert last[1] == pytest.approx(spent)


def test_only_the_latest_of_invented_replicas_stay() -> None:
    """Each heartbeat once stayed for ten minutes, and each new one read all of them."""
    heartbeats = Heartbeats()
    for n in range(2 * MOST):
        heartbeats.beat(beat(f"made-up-{n}"), 1.0)
        heartbeats.beat(beat(processed=n), 1.0)
    fleet = heartbeats.fleet(1.0)
    assert fleet is not None and (fleet.ready, fleet.processed) == (MOST, 2 * MOST - 1)
    assert_cheap(
        "from services.scaler.live.heartbeats import Heartbeats; from tests.support.heartbeats import beat; "
        "heard = Heartbeats()",
        "[heard.beat(beat(f'made-up-{n}'), 1.0) for n in range(300_000)]",
    )


# ---- work that degrades


def bent(processed: int, *, analysed: int, wanted: int, work_s: float, wanted_s: float, pid: int = 1) -> Beat:
    return Beat(
        replica="cv-0", pid=pid, state="ready", processed=processed, working_s=float(processed),
        wanted=wanted, analysed=analysed, work_s=work_s, wanted_s=wanted_s,
    )  # fmt: skip


def test_a_partial_analysis_is_less_work_and_no_faster_replica() -> None:
    heartbeats = Heartbeats()
    heartbeats.beat(bent(10, wanted=50, analysed=50, work_s=5.0, wanted_s=5.0), 0.0)
    heartbeats.beat(bent(30, wanted=150, analysed=70, work_s=7.0, wanted_s=15.0), 1.0)
    fleet = heartbeats.fleet(1.0)
    assert fleet
    assert (fleet.processed, fleet.wanted, fleet.analysed) == (20.0, 100.0, 20.0)
    assert fleet.work == pytest.approx(4.0)


def test_a_service_that_reports_no_work_does_whole_messages() -> None:
    heartbeats = Heartbeats()
    for n in (10, 30):
        heartbeats.beat(Beat(replica="cv-0", pid=1, state="ready", processed=n, working_s=float(n)), n / 10)
    fleet = heartbeats.fleet(3.0)
    assert fleet and (fleet.processed, fleet.work, fleet.wanted, fleet.analysed) == (20.0, None, None, None)


def test_work_before_a_restart_counts_once() -> None:
    heartbeats = Heartbeats()
    heartbeats.beat(bent(10, wanted=50, analysed=10, work_s=1.0, wanted_s=5.0), 0.0)
    heartbeats.beat(bent(4, wanted=20, analysed=20, work_s=2.0, wanted_s=2.0, pid=2), 1.0)
    fleet = heartbeats.fleet(1.0)
    assert fleet and (fleet.processed, fleet.work, fleet.wanted, fleet.analysed) == (4.0, 4.0, 20.0, 20.0)


@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 6), min_size=2, max_size=8))
def test_sums_never_fall_and_work_never_exceeds_messages(rows: list[tuple[float, ...]]) -> None:
    """Whatever a worker says: its heartbeats are anybody's on a server without logins."""
    heartbeats, before = Heartbeats(), (0.0, 0.0, 0.0, 0.0)
    for n, (processed, working_s, wanted_s, work_s, wanted, looked) in enumerate(rows):
        beat = Beat(
            replica="cv-0", pid=1, state="ready", processed=processed, working_s=working_s,
            wanted_s=wanted_s, work_s=work_s, wanted=wanted, analysed=looked,
        )  # fmt: skip
        heartbeats.beat(beat, n / 10)
        fleet = heartbeats.fleet(n / 10)
        assert fleet
        now = (fleet.processed, fleet.work or 0.0, fleet.wanted or 0.0, fleet.analysed or 0.0)
        assert all(a >= b for a, b in zip(now, before, strict=True))
        assert fleet.work is None or fleet.work <= fleet.processed * (1 + 1e-9)
        before = now
