"""Scaling policies: Knative's and Ray Serve's rules, GPU utilisation, and all of them compared."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import yaml

from shared.runtime.errors import SettingError
from tests.support.kube.scaledobjects import document, lag_trigger, prometheus_trigger
from tests.support.paths import ROOT
from tests.support.worlds.policies import TEN, view
from tests.support.worlds.simulation import counts, poisson
from tidegate.keda import scaledobject
from tidegate.keda.scaledobject import ScaledObject
from tidegate.keda.source import NoSeries
from tidegate.simulation import compare
from tidegate.simulation.engine import Bar, Result, ScalerView, Workload, run
from tidegate.simulation.policies import Gpus, KedaUtilisation, Kpa, RayServe

DEMAND = ROOT / "deploy/keda/demand/cv.yaml"


def kpa(*seen: tuple[int, int, int | None]) -> list[int]:
    """Decisions, one a tick, on (in the system, replicas, ready)."""
    policy = Kpa("kpa", TEN)
    return [policy.decide(2.0 * i, view(*s)) for i, s in enumerate(seen)]


def test_knative_averages_a_minute_and_targets_seven_tenths() -> None:
    assert kpa(*[(7, 1, None)] * 5) == [1] * 5
    assert kpa(*[(8, 1, None)] * 3)[-1] == 2
    # A minute of 30 ticks: after 15 at 6 and 15 at 12 the mean is 9 of 7.
    assert kpa(*[(6, 1, None)] * 15, *[(12, 1, None)] * 15)[-1] == 2
    # Values older than a minute are forgotten.
    assert kpa(*[(12, 1, None)] * 10, *[(6, 1, None)] * 60)[-1] == 1


def test_knative_panics_at_twice_what_is_ready_and_then_only_grows() -> None:
    quiet = [(1, 1, None)] * 30
    rising = kpa(*quiet, (40, 1, None), (40, 1, None), (40, 1, None))
    # The panic window is three ticks: 42/3 of 7 is 2, at which it begins, then 81/3, then 40.
    assert rising[29:] == [1, 2, 4, 6]
    # After the burst it holds the maximum for a minute after the last tick over the threshold, and one tick more.
    calm = kpa(*quiet, *[(40, 1, 6)] * 3, *[(1, 6, None)] * 40)
    assert calm[30:33] == [1, 1, 2] or max(calm) <= 6
    held = kpa(*quiet, *[(40, 1, None)] * 3, *[(1, 6, None)] * 40)
    assert held[33 : 33 + 30] == [6] * 30
    assert held[33 + 31] < 6


def test_knative_halves_at_most() -> None:
    # Six replicas that were found in place are held for a minute; then a tick brings them to half.
    down = kpa(*[(1, 6, None)] * 31, (1, 6, None), (1, 3, None), (1, 1, None))
    assert down[:31] == [6] * 31
    assert down[31:] == [3, 1, 1]


def test_knative_goes_to_zero_when_a_minute_had_nothing() -> None:
    assert kpa(*[(7, 1, None)] * 30, *[(0, 1, None)] * 30)[-2:] == [1, 0]


def ray(*seen: tuple[int, int, int | None]) -> list[int]:
    policy = RayServe("ray", TEN)
    return [policy.decide(float(i), view(*s)) for i, s in enumerate(seen)]


def test_ray_scales_up_when_thirty_seconds_called_for_it() -> None:
    up = ray(*[(35, 1, None)] * 31)
    assert up[:30] == [1] * 30 and up[30] == 4
    # One tick that does not call for more restarts the count.
    assert ray(*[(35, 1, None)] * 20, (0, 4, None), *[(35, 1, None)] * 30)[-1] == 1


def test_ray_scales_down_when_ten_minutes_called_for_it() -> None:
    down = ray(*[(5, 4, None)] * 601)
    assert down[:600] == [4] * 600 and down[600] == 1


def test_ray_goes_to_zero_only_from_one() -> None:
    down = ray(*[(0, 4, None)] * 601, *[(0, 1, None)] * 601)
    assert down[600] == 1 and down[-2:] == [1, 0]


def test_ray_asks_for_one_replica_until_it_runs() -> None:
    assert ray((0, 0, 0), (0, 0, 0), (30, 0, 0)) == [0, 0, 1]
    starting = ray(*[(100, 1, 0)] * 90, *[(100, 1, 1)] * 31)
    assert starting[:120] == [1] * 120 and starting[120] == 10


def busy(replicas: int, working_s: float) -> ScalerView:
    return ScalerView(
        arrived=0, pending=0, in_flight=0, replicas=replicas, ready=replicas, processed=0, working_s=working_s
    )


def test_prometheus_has_late_gpu_figures_of_the_last_interval() -> None:
    """Two replicas are busy from the first second on: the sum of 2 becomes visible after 37.5 s."""
    gpus, heard = Gpus(), {}
    while gpus.next_at <= 120:
        now = gpus.next_at
        gpus.observe(now, busy(2, min(2 * now, 90.0)))
        heard[now] = gpus.query()
    # After 45 s nothing is left to do: the mean of the second interval is a half of it.
    assert {at: heard[at] for at in (22.5, 37.5, 52.5, 67.5, 97.5)} == {22.5: 0, 37.5: 2, 52.5: 2, 67.5: 1, 97.5: 0}


def test_there_is_no_series_without_replicas() -> None:
    gpus = Gpus()
    assert isinstance(gpus.query(), NoSeries)
    while gpus.next_at <= 60:
        gpus.observe(gpus.next_at, busy(0, 0.0))
    assert isinstance(gpus.query(), NoSeries)


def by_utilisation(*triggers: dict[str, object]) -> ScaledObject:
    return scaledobject.parse(yaml.safe_dump(document(triggers=list(triggers), pollingInterval=5)))


WAKES = lag_trigger(lagThreshold="1000000")


def test_utilisation_alone_never_starts_a_service_that_is_at_zero() -> None:
    arrivals = counts(*[0] * 30, *[1] * 600)
    load = Workload(service_rate=2, cold_start_s=10)
    asleep = run(KedaUtilisation("u", by_utilisation(prometheus_trigger())), arrivals, load, initial=0)
    assert (asleep.attainment, asleep.peak_replicas) == (0.0, 0)
    woken = run(KedaUtilisation("u", by_utilisation(WAKES, prometheus_trigger())), arrivals, load, initial=0)
    assert woken.attainment > 0.9 and woken.lost == 0


def test_utilisation_settles_at_its_threshold() -> None:
    """Seven a second keep three and a half replicas busy: five by 0.7, and seven by 0.5."""
    load = Workload(service_rate=2, cold_start_s=20)
    for threshold, replicas in (("0.7", 5), ("0.5", 7)):
        scaled = by_utilisation(WAKES, prometheus_trigger(threshold=threshold))
        result = run(KedaUtilisation("u", scaled), poisson(7, 3600), load, initial=4)
        # The backlog from before the first replica is gone by then.
        last = [n for at, n in result.timeline if at >= 1800] or [result.timeline[-1][1]]
        assert last == pytest.approx([replicas] * len(last), abs=1)


def test_utilisation_does_not_measure_the_missing_capacity() -> None:
    """Work for ten replicas comes from the first second on; each step adds three sevenths of those that run."""
    load = Workload(service_rate=1, service_cv=0, cold_start_s=0, latency_target_s=30)
    scaled = by_utilisation(WAKES, prometheus_trigger())
    result = run(KedaUtilisation("u", scaled), counts(*[10] * 900), load, initial=0)
    requests = [n for _, n in result.timeline]
    assert all(b <= math.ceil(a / 0.7) for a, b in pairwise(requests) if b > a > 0)
    # The lag rule would have requested all ten at its second tick.
    assert next(at for at, n in result.timeline if n >= 10) > 150
    # The backlog keeps the GPUs busy, so utilisation requests more replicas until the backlog is gone.
    assert result.peak_replicas > 20


def test_all_policies_are_compared_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = poisson(6, 1200)
    load = Workload(service_rate=4, cold_start_s=30)
    monkeypatch.setattr(compare, "THRESHOLDS", (0.5,))
    monkeypatch.setattr(compare, "DOWN_WINDOWS_S", (15, 300))
    steps: list[compare.Progress] = []
    names = ("static_peak", "lag_tuned", "clairvoyant", "kpa")
    results = compare.compare(arrivals, load, scaledobject.load(DEMAND), names, report=steps.append)
    assert [r.name for r in results] == list(names)
    # The tuned one is judged by what demand serves, so demand is simulated too.
    assert {s.result.name for s in steps if s.result} == {"demand", *names}
    assert (steps[0].share, steps[-1].share) == (0, pytest.approx(1)) and steps[-1].done == steps[-1].count == 5
    assert [s.share for s in steps] == sorted(s.share for s in steps)
    assert "lag_tuned, setting 8 of 8" in {s.doing for s in steps}
    by_name = {r.name: r for r in results}
    assert by_name["clairvoyant"].replica_hours == min(r.replica_hours for r in results)
    assert by_name["static_peak"].attainment == 1.0


def test_utilisation_is_tuned_with_and_without_the_lag_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "UTILISATIONS", (0.7, 0.9))
    monkeypatch.setattr(compare, "DOWN_WINDOWS_S", (300,))
    load = Workload(service_rate=4, cold_start_s=30)
    names = ("utilisation", "utilisation_tuned")
    default, tuned = compare.compare(poisson(6, 1800), load, scaledobject.load(DEMAND), names)
    assert (default.name, tuned.name) == names
    assert tuned.settings.partition(" of")[0] in ("70%", "90%") and "scale-down window 300 s" in tuned.settings


@pytest.mark.slow
@pytest.mark.parametrize("attainment", [0.5, 1.1])
def test_ending_hopeless_runs_early_changes_no_result(attainment: float) -> None:
    load = Workload(service_rate=4, cold_start_s=30, max_age_s=60)
    arrivals = counts(*[2] * 1800, *[24] * 1800, *[2] * 1800)
    points = compare.lag_grid(load)[::7]
    whole = [compare._at(arrivals, load, point, None) for point in points]
    results = [result for result in whole if result]
    order = sorted(range(len(points)), key=lambda i: compare._worth(results[i], attainment))
    with ThreadPoolExecutor(1) as pool:
        best = compare._best(pool, arrivals, load, points, attainment, 2, lambda _: None)
    assert [point for point, _ in best] == [points[i] for i in order[:2]]
    assert [result.timeline for _, result in best] == [results[i].timeline for i in order[:2]]
    first, last = results[order[0]], points[order[-1]]
    bar = Bar(replica_hours=first.replica_hours, window_attainment=min(1, attainment))
    assert compare._at(arrivals, load, last, bar) is None


def test_the_tuned_keda_is_the_cheapest_with_equal_service() -> None:
    def of(hours: float, served: float) -> Result:
        values = dict.fromkeys(Result.__struct_fields__, 0)
        return Result(**{**values, "name": "x", "replica_hours": hours, "window_attainment": served})

    cheap, dear, poor = of(1, 0.95), of(2, 0.99), of(0.5, 0.8)
    assert min([poor, dear, cheap], key=lambda r: compare._worth(r, 0.95)) is cheap
    assert min([poor, cheap], key=lambda r: compare._worth(r, 0.999)) is cheap


def test_a_static_fleet_is_as_large_as_the_busiest_stretch_needs() -> None:
    load = Workload(service_rate=2, latency_target_s=3)
    assert compare.peak(counts(0, 0, 12, 0, 0), load) == 2
    assert compare.peak(counts(120, 0, step_s=10.0), load) == 6
    assert compare.peak(counts(0, 1, 0), load) == 1
    assert compare.initial(counts(*[0] * 60, 50), load) == 0
    assert compare.initial(counts(*[5] * 60), load) == 3


def test_demand_needs_a_scaled_object_with_a_demand_trigger() -> None:
    scaled = scaledobject.load(ROOT / "deploy/keda/cv.yaml")
    with pytest.raises(SettingError, match="Tidegate's scaler"):
        compare.demand_scaled(scaled, TEN)
