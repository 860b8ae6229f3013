"""Traces: what is read of a file, what is refused in words, and traces by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.runtime.errors import SettingError
from tests.support.examples import examples
from tests.support.worlds.policies import instants
from tests.support.worlds.simulation import poisson
from tidegate.simulation.engine import Workload
from tidegate.simulation.generate import generated
from tidegate.simulation.trace import Trace, read


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "needs a first line 't_s,arrivals'"),
        ("t_s,arrivals\n", "at least two rows"),
        ("t_s,arrivals\n0,1\n", "at least two rows"),
        ("time,count\n0,1\n1,2\n", "needs a first line 't_s,arrivals'"),
        ("t_s,arrivals\n0,1\n1,many\n", "line 3"),
        ("t_s,arrivals\n0,1\n1\n", "line 3"),
        ("t_s,arrivals\n0,1\n1,-2\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\n1,nan\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\ninf,2\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\n1,1e13\n", "line 3: arrivals must be"),
        ("t_s,arrivals\n0,1\n2,1\n1,1\n", "line 4: t_s must grow"),
        ("t_s,arrivals\n0,1\n0,1\n", "line 3: t_s must grow"),
        ("t_s,arrivals\n0,1\n1,1\n2.5,1\n", "even grid"),
        ("t_s,arrivals\n0,1\n1,1\n90000000,1\n", "too many"),
        ("t_s,arrivals\n0,0\n1,0\n", "holds no arrivals"),
    ],
)
def test_a_bad_trace_is_refused_with_a_reason(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(SettingError) as e:
        read(path)
    assert problem in str(e.value) and str(path) in str(e.value)


def test_an_unreadable_trace_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"t_s,arrivals\n\xff\xfe,1\n")
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / "binary.csv"):
        with pytest.raises(SettingError, match="can't be read") as e:
            read(path)
        assert str(path) in str(e.value)


def test_missing_rows_are_steps_without_arrivals(tmp_path: Path) -> None:
    t = read(write(tmp_path / "gaps.csv", "t_s,arrivals\n100,3\n110,1\n140,2\n150,4\n"))
    assert t.name == "gaps" and t.step_s == 10
    assert t.counts.tolist() == [3, 1, 0, 0, 2, 4]
    assert t.duration_s == 60 and t.total == 10 and t.peak_rate == 0.4


@given(
    st.lists(st.integers(0, 60), min_size=3, max_size=40), st.sampled_from([0.5, 1.0, 60.0, 1800.0]), st.integers(0, 9)
)
@settings(max_examples=examples(80))
def test_counts_of_steps_are_exact_and_slopes_stay_inside_them(n: list[int], step: float, seed: int) -> None:
    t = Trace("t", step, np.array([*n, 1], dtype=np.int64))
    arrived, work = instants(t, Workload(service_rate=2, seed=seed))
    assert arrived == sorted(arrived) and len(work) == t.total
    assert np.histogram(arrived, np.arange(len(t.counts) + 1) * step)[0].tolist() == t.counts.tolist()
    assert min(work) > 0


def test_a_long_step_slopes_as_its_neighbours_do() -> None:
    t = Trace("rise", 1800.0, np.array([1000, 3000, 5000], dtype=np.int64))
    arrived = np.array(instants(t, Workload(service_rate=2))[0])
    within = arrived[(arrived >= 1800) & (arrived < 3600)]
    # From 2000 to 4000 in the step: 2500 in 1 of its first half, 3500 in that of the second.
    assert (within < 2700).mean() == pytest.approx(2500 / 6000, abs=0.03)


def test_work_has_the_requested_rate_and_spread() -> None:
    work = np.array(instants(poisson(50, 1000), Workload(service_rate=4, service_cv=0.5))[1])
    assert work.mean() == pytest.approx(0.25, rel=0.01)
    assert work.std() / work.mean() == pytest.approx(0.5, rel=0.02)


def test_generated_traces_are_the_same_for_the_same_seed() -> None:
    one, same, other = generated(1), generated(1), generated(2)
    assert [t.name for t in one] == ["days", "bursts", "flash_crowd", "ramp", "outage"]
    for a, b, c in zip(one, same, other, strict=True):
        assert (a.counts == b.counts).all() and not (a.counts[: len(c.counts)] == c.counts[: len(a.counts)]).all()
        assert a.total and a.counts.min() >= 0
    flash = one[2]
    assert flash.counts[:1800].sum() == 0 and flash.counts[1810:1820].mean() > 15
