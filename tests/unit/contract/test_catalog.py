"""The records of services, and what follows from them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import catalog, names, topology
from shared.contract.catalog import Consumer, Service
from shared.contract.events import KINDS
from shared.contract.rights import identities
from shared.runtime.errors import SettingError
from tests.support.paths import ROOT

RECORDS = {service.name: service for service in catalog.SERVICES}


def test_every_right_was_reviewed() -> None:
    """A changed record changes rights: the reviewer of that change reads rights.json."""
    reviewed = json.loads((Path(__file__).parent / "rights.json").read_text())
    derived = {
        user: {k: sorted(v) if isinstance(v, list) else v for k, v in permissions.items()}
        for user, permissions in identities.permissions().items()
    }
    assert derived == reviewed


def test_ingest_alone_publishes_main_streams() -> None:
    """Not even the console's replay of dead letters does: no consumer has them, so none becomes one."""
    able = {
        user
        for user, permissions in identities.permissions().items()
        if any(names.overlap(pattern, names.main("lobby")) for pattern in permissions["publish"])
    }
    assert able == {"admin", "ingest"}


tokens = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3)
patterns = st.builds(lambda head, tail: ".".join([*head, *tail]), tokens, st.sampled_from([[], [">"]]))


def _matches(pattern: str, subject: str) -> bool:
    """Match as nats-server does: `*` is one token, `>` one or more."""
    expression = re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+")
    return re.fullmatch(expression, subject) is not None


@given(patterns, patterns)
def test_patterns_overlap_where_a_subject_matches_both(one: str, other: str) -> None:
    """The subjects of up to five tokens are all there are to tell them apart."""
    subjects = [".".join(s) for n in range(1, 6) for s in itertools.product("abc", repeat=n)]
    shared = any(_matches(one, subject) and _matches(other, subject) for subject in subjects)
    assert names.overlap(one, other) == shared


@pytest.mark.parametrize("record", catalog.SERVICES, ids=lambda r: r.name)
def test_a_record_names_existing_things(record: Service) -> None:
    assert importlib.util.find_spec(f"{record.module}.__main__")
    assert (ROOT / record.page).is_file()
    assert not record.scaled_object or (ROOT / "deploy" / "keda" / record.scaled_object).is_file()
    streams = {stream.name for stream in topology.streams(topology.TopologySettings())}
    assert {c.stream for c in record.consumers} <= streams
    assert {b.name for b in record.buckets} <= set(topology.buckets(topology.TopologySettings()))
    fields = {names.kind_of(subject) for subject in record.publishes if subject.startswith("events.")}
    assert fields <= {kind.kind for kind in KINDS}
    for consumer in record.consumers:
        assert not consumer.when or consumer.when in topology.TopologySettings.__struct_fields__


def test_every_kind_of_event_has_one_publisher() -> None:
    """Those of the past by none."""
    by_kind = {
        kind.kind: [r.name for r in catalog.SERVICES if names.event(kind.kind, "*") in r.publishes] for kind in KINDS
    }
    past = names.past("")
    fields = {kind.kind: int(not kind.kind.startswith(past)) for kind in KINDS}
    assert {kind: len(by) for kind, by in by_kind.items()} == fields


@pytest.mark.parametrize("extra", catalog.EXTRAS)
def test_an_extra_installs_the_modules_that_its_check_imports(extra: str) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    installed = {re.split(r"[\[<>=! ]", requirement)[0].lower() for requirement in declared}
    providers = importlib.metadata.packages_distributions()
    for module in catalog.EXTRAS[extra].modules:
        found = {
            d.lower().replace("_", "-")
            for d in providers.get(module.split(".")[0], [])
            if any(str(f).startswith(module.replace(".", "/")) for f in importlib.metadata.files(d) or [])
        }
        assert found & installed, f"{module} is of {found or 'no distribution'}, and [{extra}] installs {installed}"


def test_a_consumer_belongs_to_its_service() -> None:
    assert [catalog.service_of(c) for c in ("cv", "vlm-verify", "vlm-plan", "of-nobody")] == [
        "cv",
        "vlm",
        "vlm-front",
        "of-nobody",
    ]
    assert catalog.work_of("vlm") == names.VLM_WORK
    assert catalog.work_of("embed") == ((names.MEDIA, "embed"),)
    assert catalog.work_of("ingest") == ()


OWN = Service(name="mine", identity="mine", module="mine", purpose="Mine.", page="README.md")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "cv"}, "two services are called cv"),
        ({"name": "my service"}, "'my service' can't be used"),
        ({"identity": "admin"}, "identity admin"),
        ({"identity": "viewer"}, "identity viewer"),
        ({"identity": "ingest"}, "identity ingest"),
        ({"identity": "a b }"}, "'a b }' can't be used"),
        ({"extras": ("gpu",)}, "extras that there are not: gpu"),
        ({"consumers": (Consumer(stream="MEDIA", name="cv", filters=("media.>",)),)}, "consumer cv of MEDIA"),
        (
            {
                "consumers": (Consumer(stream="EVENTS", name="mine", filters=("events.*.lobby",)),),
                "publishes": ("events.counts.>",),
            },
            "publishes events.counts.>, which it also takes",
        ),
        ({"consumers": (Consumer(stream="MEDIA", name="a.b", filters=("media.>",)),)}, "'a.b' can't be used"),
    ],
)
def test_a_record_that_claims_names_of_another_is_refused(changes: dict[str, object], reason: str) -> None:
    catalog._check([*catalog.SERVICES, OWN])
    with pytest.raises(SettingError, match=reason):
        catalog._check([*catalog.SERVICES, msgspec.structs.replace(OWN, **changes)])
