"""The one growing delay, and the one breaker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.backoff import FAILURES, Backoff, Breaker

SHARES = st.floats(0, 1)


@given(st.integers(1, 100_000), st.floats(0.01, 10), st.floats(0.01, 100), SHARES, SHARES)
def test_it_doubles_up_to_the_maximum_and_jitter_only_shortens_it(
    tries: int, first_s: float, longest_s: float, jitter: float, chance: float
) -> None:
    backoff = Backoff(first_s=first_s, longest_s=longest_s, jitter=jitter, chance=lambda: chance)
    nominal = min(longest_s, first_s * 2.0 ** min(tries - 1, 100))
    assert backoff.after(tries) == pytest.approx(nominal * (1 - jitter + jitter * chance))


def test_clients_that_failed_together_do_not_retry_together() -> None:
    delays = sorted(Backoff(first_s=1, longest_s=9).after(3) for _ in range(1000))
    assert 2 <= delays[0] < 2.1 and 3.9 < delays[-1] <= 4
    assert len(set(delays)) > 900
    full = sorted(Backoff(first_s=1, longest_s=9, jitter=1.0).after(3) for _ in range(1000))
    assert full[0] < 0.1 and 3.9 < full[-1] <= 4


def test_the_peer_may_ask_for_a_longer_wait_up_to_a_limit_and_never_a_shorter_one() -> None:
    backoff = Backoff(first_s=1.0, longest_s=300.0, longest_requested_s=600.0)
    assert backoff.after(1, 120) == 120 and backoff.after(1, 10**9) == 600
    assert all(2 ** (n - 1) / 2 <= backoff.after(n) <= 2 ** (n - 1) for n in range(1, 9))
    assert 150 <= backoff.after(10_000, 3) <= 300
    assert Backoff(first_s=1.0, longest_s=300.0, jitter=0.0).after(1, 120) == 1, "nothing is granted unless it is said"


# ---- the breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker_at(clock: Clock, **options: object) -> Breaker:
    probes = Backoff(first_s=1.0, longest_s=30.0, longest_requested_s=600.0)
    return Breaker(probes, clock=clock, **options)  # type: ignore[arg-type]


def test_consecutive_failures_open_it_and_one_success_closes_it() -> None:
    breaker = breaker_at(clock := Clock())
    for _ in range(FAILURES - 1):
        assert not breaker.failed("refused")
    assert not breaker.is_open and breaker.open_s == 0 and breaker.reason == "refused"
    assert breaker.failed("refused again"), "this one opened it"
    clock.now += 7
    assert not breaker.failed("and again")
    assert breaker.is_open and breaker.open_s == 7 and breaker.reason == "and again"
    assert breaker.succeeded(), "this one closed it"
    assert not breaker.succeeded()
    assert not breaker.is_open and breaker.open_s == 0 and breaker.reason == ""
    assert breaker.failed("once", certain=True)
    assert breaker.is_open and breaker.open_s == 0


def test_a_breaker_that_starts_with_a_reason_is_open() -> None:
    breaker = breaker_at(clock := Clock(), reason="it starts")
    clock.now += 3
    assert breaker.is_open and breaker.open_s == 3 and breaker.reason == "it starts"


@given(st.lists(st.tuples(st.sampled_from(["well", "failed", "certain"]), st.integers(0, 9))), st.integers(1, 5))
def test_only_failures_since_the_last_success_open_it(steps: list[tuple[str, int]], limit: int) -> None:
    breaker = breaker_at(clock := Clock(), failures=limit)
    row: list[str] = []
    since = 0.0
    for what, after in steps:
        clock.now += after
        was = breaker.is_open
        if what == "well":
            assert breaker.succeeded() == was
            row = []
        else:
            opened = breaker.failed(what, certain=what == "certain")
            assert opened == (breaker.is_open and not was)
            row.append(what)
        assert breaker.is_open == ("certain" in row or len(row) >= limit)
        since = since if was else clock.now
        assert breaker.open_s == (clock.now - since if breaker.is_open else 0)
        assert breaker.reason == (row[-1] if row else "")


def test_failures_of_a_single_request_do_not_open_it() -> None:
    breaker = breaker_at(clock := Clock())
    for _ in range(10):
        breaker.failed("500", of=1, begun=clock.now)
    assert not breaker.is_open
    breaker.succeeded(clock.now)
    for n in range(FAILURES):
        assert not breaker.is_open
        breaker.failed("500", of=n, begun=clock.now)
    assert breaker.is_open and 0.5 <= breaker.wait_s <= 1.0


def test_probes_grow_further_apart_and_a_successful_one_closes_it() -> None:
    breaker = breaker_at(clock := Clock())
    breaker.failed("refused", of=1, begun=clock.now, certain=True)
    for longest in (1, 2, 4, 8, 16, 30, 30):
        assert longest / 2 <= breaker.wait_s <= longest
        clock.now += breaker.wait_s
        assert breaker.wait_s == 0
        breaker.failed("refused still", of=1, begun=clock.now, certain=True)
    assert breaker.reason == "refused still"
    breaker.succeeded(clock.now)
    assert not breaker.is_open
    breaker.failed("refused", of=1, begun=clock.now, certain=True)
    assert breaker.wait_s <= 1


def test_earlier_requests_change_an_open_breaker_only_by_a_longer_wait() -> None:
    breaker = breaker_at(clock := Clock())
    before = clock.now
    clock.now += 1
    breaker.failed("busy", of=1, begun=before, certain=True, requested_s=60)
    breaker.succeeded(before)
    breaker.failed("late", of=2, begun=before, certain=True)
    assert breaker.is_open and breaker.wait_s == 60 and breaker.reason == "busy"
    breaker.failed("busy", of=3, begun=before, certain=True, requested_s=90)
    assert breaker.wait_s == 90
    breaker.failed("busy", of=4, begun=before, certain=True, requested_s=10**6)
    assert breaker.wait_s == 600
