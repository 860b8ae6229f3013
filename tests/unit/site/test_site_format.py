"""The format of a site file: every mistake in words, no password repeated, and the nearest setting wins."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract.reading.mistakes import Mistakes
from shared.site import format as site_format
from shared.site import merging
from tests.support.examples import examples
from tests.support.schemas import ValidationError, Validator

SITE = b"""
x-team: shops
defaults: {fps: 2, classes: [person]}
cameras:
  lobby:
    url: rtsp://10.0.0.7/stream1
    user: admin
    password: ${LOBBY_PASSWORD}
    rules: {zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}, rules: [{kind: enter, id: in, zone: door}]}
    recording: {keep_days: 30}
  gate: {url: "${GATE_URL}", fps: 5}
groups:
  doors: {cameras: [lobby, gate], settings: {fps: 3, priority: high}, recording: {record: activity}}
  all: {cameras: [lobby], settings: {fps: 4}}
recording: {keep_days: 7}
readers: {desk: {kinds: [alerts], cameras: [lobby]}}
"""


def test_the_nearest_setting_wins() -> None:
    site = site_format.read(SITE, "site.yaml")
    lobby, gate = site.cameras["lobby"], site.cameras["gate"]
    assert (lobby.fps, lobby.priority, lobby.classes) == (4, "high", ["person"]), "all comes before doors by name"
    assert (gate.fps, gate.priority, gate.classes) == (5, "high", ["person"])


def test_the_schema_takes_what_is_read() -> None:
    schema = site_format.json_schema()
    value = msgspec.yaml.decode(SITE)
    Validator(schema).validate(value)
    with pytest.raises(ValidationError):
        Validator(schema).validate({**value, "camera": {}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cameras: {a: {}}", "cameras.a: its field 'url' is missing"),
        ("camera: {}", "camera: there is no such field: did you mean 'cameras'?"),
        ("cameras: {a: {url: 'http://h'}}", "cameras.a.url: has the scheme 'http'"),
        ("cameras: {a: {url: 'rtsp://h', fps: 0}}", "cameras.a.fps: a number > 0.0 is expected"),
        ("cameras: {a: {url: 'rtsp://h', user: me}}", "cameras.a.user: a user needs 'password'"),
        ("cameras: {a: {url: 'rtsp://u:p@h'}}", "cameras.a.url: it has a password"),
        ("cameras: {a: {url: 'rtsp://u:p@${HOST}/x'}}", "cameras.a.url: it has a password"),
        ("cameras: {a: {url: 'rtsp://h', password: '1'}}", "cameras.a.password: give a variable"),
        ("cameras: {a: {url: 'rtsp://h', recording: {cameras: [a]}}}", "only a group has cameras"),
        ("cameras: {a: {url: 'rtsp://h', recording: 7}}", "cameras.a.recording: an object is expected"),
        ("cameras: {a: {url: 'rtsp://h', rules: {rules: [{kind: enter, id: x, zone: y}]}}}", "there is no zone 'y'"),
        ("defaults: {tiles: 9x9}\ncameras: {a: {url: 'rtsp://h'}}", "cameras.a: tiles is '9x9'"),
        ("cameras: {a: {url: 'rtsp://h', model: /models/m.onnx}}", "cameras.a.model"),
        ("groups: {g: {cameras: []}}", "groups.g.cameras"),
        ("cameras: {a: {url: 'rtsp://h/1', detect: 'rtsp://i/2'}}", "cameras.a.detect: is at rtsp://i:554"),
        ("cameras: {a: {url: 'rtsp://h/1', detect: 'rtsp://u:p@h/2'}}", "cameras.a.detect: it has a password"),
        ("cameras: {a: {url: 'rtsp://h/1', detect: '/2?password=p'}}", "cameras.a.detect: a camera whose password"),
        ("cameras: {a: {url: '${U}', detect: '/a b'}}", "cameras.a.detect: has a space"),
        ("defaults: {detect: /2}\ncameras: {a: {url: 'rtsp://h'}}", "defaults.detect: there is no such field"),
        ("groups: {g: {cameras: [a], recording: {masks: []}}}", "only a camera has masks"),
        ("recording: {cameras: [a]}", "recording.cameras: this policy is of all cameras"),
        ("readers: {r: {kinds: [alert]}}", "did you mean 'alerts'?"),
        ("cameras: {a: {url: 'rtsp://h'}, a: {url: 'rtsp://h'}}", "cameras.a: it is there 2 times"),
        ("cameras: &x {}\ngroups: *x", "aliases"),
        ("[" * 5000, "neither YAML nor JSON"),
        ("[]", "an object is expected"),
        ("cameras: {'a b': {url: 'rtsp://h'}}", "cameras.a b: as a name"),
        ("cameras: {1: {url: 'rtsp://h'}}", "cameras.1"),
        ("cameras: {a: 5}", "cameras.a: an object is expected"),
        ("cameras: 5", "cameras: an object is expected"),
        ("groups: {g: {cameras: 7, settings: 3}}", "groups.g.cameras"),
    ],
)
def test_mistakes_are_in_words(text: str, words: str) -> None:
    with pytest.raises(Mistakes) as e:
        site_format.read(text.encode(), "site.yaml")
    assert words in str(e.value)


SECRET = "hunter2"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*site_format.SiteCamera.__struct_fields__, "lobby", "cameras", "settings", "zones"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(site_format.Site.__struct_fields__), VALUES),
    st.sampled_from(
        [
            ("password", SECRET),
            ("password", [SECRET]),
            ("password", {"a": SECRET}),
            ("url", f"rtsp://me:{SECRET}@h/x"),
            ("url", f"rtsp://h/?password={SECRET}"),
            ("url", [f"rtsp://me:{SECRET}@h/x"]),
        ]
    ),
)
@settings(max_examples=examples(300))
def test_a_literal_password_is_refused_and_not_repeated(value: dict[str, object], field: tuple[str, object]) -> None:
    lobby = {"url": "rtsp://h", field[0]: field[1]}
    with pytest.raises(Mistakes) as e:
        site_format.read(json.dumps({**value, "cameras": {"lobby": lobby}}).encode(), "site.yaml")
    assert SECRET not in str(e.value)


@given(VALUES)
@settings(max_examples=examples(300))
def test_any_value_is_read_or_refused(value: object) -> None:
    try:
        site_format.read(json.dumps(value).encode(), "site.yaml")
    except Mistakes:
        pass


def test_two_files_are_one_site_unless_both_have_a_name() -> None:
    gate: dict[str, Any] = {"cameras": {"gate": {}}}
    lobby: dict[str, Any] = {"cameras": {"lobby": {}}, "recording": {}}
    assert merging.merge([("a", gate), ("b", lobby)]) == (
        {"cameras": {"gate": {}, "lobby": {}}, "recording": {}},
        [],
    )
    _, mistakes = merging.merge([("a", lobby), ("b", lobby)])
    assert list(map(str, mistakes)) == [
        "cameras.lobby: it is in a and in b: give it once",
        "recording: it is in a and in b: give it once",
    ]
