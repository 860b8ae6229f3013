"""Which recordings of a camera stay, and which are deleted: the nearest policy, age and size."""

from __future__ import annotations

import datetime as dt
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recordings.policy import EffectivePolicy, Policy, nearest
from shared.recordings.retention import GB, Aged, expires_at, files_to_remove

NOW = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)


def test_the_nearest_policy_decides_each_field() -> None:
    policies = {
        "default": Policy(record="activity", keep_days=3, labels=("person",)),
        "group.doors": Policy(cameras=("lobby", "gate"), keep_days=14, before_s=5),
        "group.halls": Policy(cameras=("lobby",), keep_days=21, after_s=20),
        "camera.lobby": Policy(labels=()),
    }
    assert nearest("lobby", policies) == EffectivePolicy(
        record="activity", keep_days=14, labels=(), before_s=5, after_s=20
    )
    assert nearest("yard", policies) == EffectivePolicy(record="activity", keep_days=3, labels=("person",))
    assert nearest("gate", policies).keep_days == 14
    assert nearest("yard", {}) == EffectivePolicy()


@pytest.mark.parametrize("key", ["default", "group.doors", "camera.lobby"])
def test_a_hold_counts_at_any_level(key: str) -> None:
    policies = dict.fromkeys(("default", "group.doors", "camera.lobby"), Policy(cameras=("lobby",), hold=False))
    assert not nearest("lobby", policies).hold
    assert nearest("lobby", policies | {key: Policy(cameras=("lobby",), hold=True)}).hold


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"record": "sometimes"}', "Invalid enum value 'sometimes'"),
        ('{"keep_days": 0}', "keep_days"),
        ('{"keep": 3}', "unknown field `keep`"),
        ('{"before_s": 601}', "before_s"),
    ],
)
def test_an_invalid_policy_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(words)):
        msgspec.json.decode(text, type=Policy)


FILES = st.lists(
    st.builds(
        Aged,
        key=st.text("ab", max_size=6),
        end=st.integers(0, 60 * 24 * 40).map(lambda minutes: NOW - dt.timedelta(minutes=minutes)),
        size=st.integers(0, 3 * GB),
        incident=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda file: file.key,
)
POLICIES = st.builds(
    EffectivePolicy,
    keep_days=st.sampled_from([0.01, 1.0, 7.0]),
    incidents_days=st.sampled_from([0.5, 7.0, 30.0]),
    most_gb=st.sampled_from([0.0, 0.5, 4.0]),
)


@given(FILES, POLICIES)
def test_only_old_or_excess_recordings_are_deleted(files: list[Aged], policy: EffectivePolicy) -> None:
    missing = files_to_remove(files, policy, NOW)
    left = [file for file in files if file not in missing]
    assert (
        files_to_remove(left, policy, NOW) == []
        and files_to_remove(files, msgspec.structs.replace(policy, hold=True), NOW) == []
    )
    assert [file.end for file in missing] == sorted(file.end for file in missing)
    old = [file for file in files if (at := expires_at(file, policy)) and at < NOW]
    assert set(old) <= set(missing)
    too_much = [file for file in missing if file not in old]
    size = sum(file.size for file in left)
    if policy.most_gb:
        assert size <= policy.most_gb * GB
        # No more of them than needed: the last to go would have been too much.
        if too_much:
            last = max(too_much, key=lambda file: (file.incident, file.end, file.key))
            assert size + last.size > policy.most_gb * GB
            assert all(file.incident or not last.incident for file in left)
    else:
        assert not too_much
    assert expires_at(Aged("k", NOW, 1, incident=True), policy) >= expires_at(Aged("k", NOW, 1, incident=False), policy)  # type: ignore[operator]
