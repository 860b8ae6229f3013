"""Frigate configurations as site files: each field once, no password, and always a file that the format takes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract.rules import Count, Enter, Loitering
from shared.runtime.errors import SettingError
from shared.site import format
from shared.site.format import Site, SiteCamera
from tests.support.examples import examples
from tidegate.importing.frigate import Imported, convert
from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE, Row, leaves, shown
from tidegate.importing.site_file import text_of
from tidegate.importing.source import read

CONFIG = """
version: 0.15-1
mqtt: {enabled: true, host: broker.example, user: frigate, password: mqtt-secret}
detectors: {first: {type: openvino, device: GPU}}
birdseye: {enabled: false}
detect: &detect {enabled: true, width: 1280, height: 720, fps: 5}
objects:
  track: [person, car, dog]
  filters:
    person: {min_score: 0.4, min_area: 9216, max_area: 0.5, threshold: 0.7, mask: "0,0,0.2,0,0.2,0.2"}
go2rtc:
  streams: {yard: ["rtsp://eve:yard-secret@10.0.0.8/main#backchannel=0", "ffmpeg:yard#audio=opus"], spare: "rtsp://x/y"}
ffmpeg: {hwaccel_args: preset-vaapi}
record: {enabled: true, retain: {days: 3, mode: all}, alerts: {pre_capture: 7, post_capture: 9, retain: {days: 14}}}
snapshots: {enabled: true, quality: 70}
ui: {timezone: Europe/Berlin, time_format: 24hour}
cameras:
  lobby:
    ffmpeg:
      inputs:
        - {path: "rtsp://admin:{FRIGATE_RTSP_PASSWORD}@10.0.0.7:554/sub", roles: [detect]}
        - {path: "rtsp://admin:{FRIGATE_RTSP_PASSWORD}@10.0.0.7:554/main", roles: [record, audio]}
    zones:
      door: {coordinates: "0.4,0.5,0.6,0.5,0.6,1,0.4,1", objects: person, inertia: 10}
      sofa: {coordinates: [ "0,360", "640,360", "640,720", "0,720" ], loitering_time: 20, friendly_name: The sofa}
    review: {alerts: {labels: [person, speech], required_zones: [door, sofa], cutoff_time: 15}}
    motion: {mask: "0,0,1,0,1,0.1,0,0.1"}
  yard:
    detect: {<<: *detect, fps: 10}
    ffmpeg: {inputs: [{path: "rtsp://127.0.0.1:8554/yard", roles: [detect, record], input_args: preset-rtsp-udp}]}
    objects: {track: [dog], mask: ["0,0,1280,0,1280,72,0,72"]}
    onvif: {host: 10.0.0.8, user: admin, password: onvif-secret}
  gate:
    enabled: false
    ffmpeg: {inputs: [{path: "rtsp://10.0.0.9/h264?user=admin&password=gate-secret", roles: [detect]}]}
    record: {enabled: false}
    review: {alerts: {enabled: false}, detections: {labels: [car]}}
camera_groups: {outside: {cameras: [yard, gate, birdseye], icon: LuCar, order: 0}}
"""
SECRETS = ("mqtt-secret", "yard-secret", "onvif-secret", "gate-secret")


def imported(text: str = CONFIG) -> Imported:
    return convert(read(text.encode(), "config.yml"), "config.yml")


def site_of(found: Imported) -> Site:
    return format.read(text_of(found.site, "config.yml").encode(), "site.yaml")


def camera_of(text: str, name: str = "lobby") -> SiteCamera:
    return site_of(imported(text)).cameras[name]


def rows_of(found: Imported) -> dict[str, Row]:
    return {row.field: row for row in found.report.rows()}


def with_camera(more: str, common: str = "") -> str:
    """Return a configuration of one camera. more: its fields. common: fields of all cameras."""
    return f"""{{{common} cameras: {{lobby: {{
      ffmpeg: {{inputs: [{{path: "rtsp://10.0.0.7/a", roles: [detect, record]}}]}}, {more} }}}}}}"""


def test_each_field_has_one_row() -> None:
    found = imported()
    fields = [shown(path) for path in leaves(read(CONFIG.encode(), "config.yml"))]
    assert [row.field for row in found.report.rows()] == fields
    assert all(row.text and row.status in (MAPPED, APPROXIMATED, DEFAULT, NONE) for row in found.report.rows())
    assert not [row for row in found.report.rows() if row.text == "not read"]


def test_no_password_is_in_the_output() -> None:
    found = imported()
    output = text_of(found.site, "config.yml") + json.dumps([found.report.rows(), found.report.variables])
    assert not [secret for secret in SECRETS if secret in output + "".join(found.report.notes)]
    names = [variable.name for variable in found.report.variables]
    assert names == ["FRIGATE_RTSP_PASSWORD", "SITE_GATE_URL", "SITE_YARD_PASSWORD"]


def test_the_recorded_stream_is_read() -> None:
    cameras = site_of(imported()).cameras
    lobby, yard, gate = cameras["lobby"], cameras["yard"], cameras["gate"]
    assert (lobby.url, lobby.user, lobby.password) == (
        "rtsp://10.0.0.7:554/main",
        "admin",
        "${FRIGATE_RTSP_PASSWORD}",
    )
    assert (yard.url, yard.transport, yard.fps) == ("rtsp://10.0.0.8/main", "udp", 10)
    assert (gate.url, gate.enabled) == ("${SITE_GATE_URL}", False)
    assert (lobby.detect, yard.detect, gate.detect) == ("rtsp://10.0.0.7:554/sub", None, None)
    rows = rows_of(imported())
    assert rows["cameras.lobby.ffmpeg.inputs[0].path"] == ("cameras.lobby.ffmpeg.inputs[0].path", MAPPED, "detect")
    assert rows["cameras.lobby.ffmpeg.inputs[1].roles"].text == "the recorded stream; sound is not analysed"
    assert rows["go2rtc.streams.spare"].status == NONE


@pytest.mark.parametrize(
    ("sub", "main", "detect"),
    [
        ("rtsp://10.0.0.7/sub", "rtsp://10.0.0.7/main", "rtsp://10.0.0.7/sub"),
        ("rtsp://me:x@10.0.0.7/sub", "rtsp://me:x@10.0.0.7/main", "rtsp://10.0.0.7/sub"),
        ("rtsp://{FRIGATE_HOST}/sub", "rtsp://{FRIGATE_HOST}/main", "rtsp://${FRIGATE_HOST}/sub"),
        ("rtsp://127.0.0.1:8554/one_sub", "rtsp://127.0.0.1:8554/one", "rtsp://10.0.0.9/sub"),
        ("rtsp://127.0.0.1:8554/one_sub", "rtsp://10.0.0.9/main", None),
        ("rtsp://10.0.0.8/sub", "rtsp://10.0.0.7/main", None),
        ("rtsp://me:x@10.0.0.7/sub", "rtsp://me:y@10.0.0.7/main", None),
        ("rtsp://me@10.0.0.7/sub", "rtsp://me@10.0.0.7/main", None),
        ("rtsp://10.0.0.7/?password=x", "rtsp://10.0.0.7/main", None),
        ("rtsp://10.0.0.7/main", "rtsp://10.0.0.7/main", None),
        ("http://10.0.0.7/sub", "rtsp://10.0.0.7/main", None),
        ("/media/sub.mp4", "/media/main.mp4", "file:///media/sub.mp4"),
    ],
)
def test_the_detected_stream_of_a_recorded_camera_is_its_substream(sub: str, main: str, detect: str | None) -> None:
    found = imported(f"""{{
      record: {{enabled: true}},
      go2rtc: {{streams: {{one: ["rtsp://a:b@10.0.0.9/main"], one_sub: "rtsp://a:b@10.0.0.9/sub"}}}},
      cameras: {{lobby: {{ffmpeg: {{inputs: [
        {{path: "{sub}", roles: [detect]}}, {{path: "{main}", roles: [record]}}]}}}}}}}}""")
    assert site_of(found).cameras["lobby"].detect == detect
    row = rows_of(found)["cameras.lobby.ffmpeg.inputs[0].path"]
    assert row.status == (MAPPED if detect else NONE) and row.text
    assert rows_of(found)["cameras.lobby.ffmpeg.inputs[1].path"].status != NONE


def test_zones_masks_and_filters_are_fractions() -> None:
    rules = camera_of(CONFIG).rules
    assert rules is not None
    assert rules.timezone == "Europe/Berlin"
    assert rules.labels == ["person", "car", "dog"]
    assert rules.zones["sofa"].polygon == [(0, 0.5), (0.5, 0.5), (0.5, 1), (0, 1)]
    assert [mask.labels for mask in rules.masks] == [["person"]]
    person = rules.filters["person"]
    assert (person.min_score, person.min_area, person.max_area) == (0.4, 0.01, 0.5)
    yard = camera_of(CONFIG, "yard").rules
    assert yard is not None
    assert (yard.masks[0].labels, yard.masks[0].polygon[2]) == (None, (1.0, 0.1))


def test_an_alert_is_a_rule_on_each_required_zone() -> None:
    rules = camera_of(CONFIG).rules
    assert rules is not None
    door, sofa = rules.rules
    assert isinstance(door, Enter)
    assert (door.zone, door.labels, door.alert, door.hold_s, door.end_after_s) == ("door", ["person"], "start", 2, 15)
    assert isinstance(sofa, Loitering)
    assert (sofa.zone, sofa.seconds, sofa.labels, sofa.alert) == ("sofa", 20, ["person"], "start")


def test_an_alert_without_zones_is_a_rule_on_the_frame() -> None:
    rules = camera_of(with_camera("objects: {track: [person, dog]}")).rules
    assert rules is not None
    (alert,) = rules.rules
    assert isinstance(alert, Count)
    assert (alert.over, alert.zone, alert.labels, alert.alert) == (0, None, ["person"], "start")


def test_disabled_alerts_are_no_rules() -> None:
    gate = camera_of(CONFIG, "gate").rules
    assert gate is not None
    assert [(rule.id, rule.alert, rule.severity) for rule in gate.rules] == [("detection", None, "info")]


def test_a_zone_of_loitering_alone_has_a_rule_without_an_alert() -> None:
    text = with_camera(
        'zones: {sofa: {coordinates: "0,0,1,0,1,1", loitering_time: 9}}, review: {alerts: {enabled: no}}'
    )
    rules = camera_of(text).rules
    assert rules is not None
    (rule,) = rules.rules
    assert isinstance(rule, Loitering)
    assert (rule.seconds, rule.alert) == (9, None)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("enabled: false, retain: {days: 3}", ("never", None, None)),
        ("enabled: true, retain: {days: 3}", ("always", 3, 10)),
        ("enabled: true, continuous: {days: 2}, motion: {days: 9}", ("always", 2, 10)),
        ("enabled: true, retain: {days: 30, mode: motion}", ("activity", 30, 10)),
        ("enabled: true, detections: {retain: {days: 0}}, alerts: {retain: {days: 5}}", ("incidents", None, 5)),
        ("enabled: true, events: {retain: {default: 6}}", ("activity", 6, 6)),
    ],
)
def test_retention(record: str, expected: tuple[str, float | None, float | None]) -> None:
    policy = camera_of(with_camera(f"record: {{{record}}}")).recording
    assert policy is not None
    assert (policy.record, policy.keep_days, policy.incidents_days) == expected


def test_longer_retention_of_motion_has_no_counterpart_next_to_all_video() -> None:
    rows = rows_of(imported(with_camera("record: {enabled: true, continuous: {days: 2}, motion: {days: 9}}")))
    assert rows["cameras.lobby.record.continuous.days"].status == MAPPED
    assert rows["cameras.lobby.record.motion.days"].status == NONE


@pytest.mark.parametrize(("version", "rules"), [("0.15-0", 1), ("0.16-0", 0), ("0.18-0", 0)])
def test_detection_is_off_by_default_from_016_on(version: str, rules: int) -> None:
    found = camera_of(with_camera("", f"version: {version},")).rules
    assert found is not None
    assert len(found.rules) == rules


def test_pixels_without_a_frame_are_not_guessed() -> None:
    found = imported(
        with_camera('zones: {a: {coordinates: "0,0,640,0,640,360"}}, objects: {filters: {car: {min_area: 9}}}')
    )
    rows = rows_of(found)
    assert rows["cameras.lobby.zones.a.coordinates"].status == NONE
    assert rows["cameras.lobby.objects.filters.car.min_area"].status == NONE
    rules = site_of(found).cameras["lobby"].rules
    assert rules is not None
    assert (rules.zones, rules.filters) == ({}, {})


def test_masks_by_name_as_from_018_on() -> None:
    mask = 'mask: {a: {coordinates: "0,0,1,0,1,1"}, b: {enabled: false, coordinates: "0,0,1,0,1,0.5"}}'
    rules = camera_of(with_camera(f"objects: {{{mask}}}")).rules
    assert rules is not None
    assert [mask.polygon for mask in rules.masks] == [[(0, 0), (1, 0), (1, 1)]]


def test_no_reference_of_the_input_reaches_the_site_file() -> None:
    path = "rtsp://a${NATS_URL}:x${NATS_PASSWORD}@evil/${HOME}"
    camera = camera_of(f"cameras: {{lobby: {{ffmpeg: {{inputs: [{{path: '{path}', roles: [detect]}}]}}}}}}")
    assert camera.url == "rtsp://evil/%24%7BHOME%7D"
    assert (camera.user, camera.password) == ("${SITE_LOBBY_USER}", "${SITE_LOBBY_PASSWORD}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "cameras:",
        "cameras: {}",
        "cameras: 5",
        "cameras: {a: }",
        "cameras: {a: {ffmpeg: {inputs: [{path: 'http://10.0.0.1/flv', roles: [detect]}]}}}",
        "a: &a [*a]",
        "a: {b: 1, b: 2}",
        "a: [1",
        "? [1]\n: 2",
        "[" * 5000,
        "a: !!python/object/apply:os.system [ls]",
        "\x00",
    ],
)
def test_what_is_no_configuration_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(SettingError, match=r"config\.yml"):
        imported(text)


def test_aliases_expand_within_bounds() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    with pytest.raises(SettingError, match="aliases"):
        imported(bomb)


def test_an_error_shows_no_value() -> None:
    with pytest.raises(SettingError) as e:
        imported('cameras: {a: {ffmpeg: {inputs: [{path: "rtsp://a:hidden@h/"')
    assert "hidden" not in str(e.value)


# Values of wrong types, and of unusual sizes.
_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["rtsp://u:p%40@h:554/x", "rtsp://[::1/x", "0,0,1,1", "1e999", "${HOME}", "{FRIGATE_A}", "\ud800"]),
    st.lists(
        st.one_of(st.text(max_size=5), st.integers(), st.dictionaries(st.text(max_size=3), st.none())), max_size=3
    ),
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=3)), max_size=3),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in items for place in _places(item, (*path, key))]


def _has(part: Any, key: Any) -> bool:
    if isinstance(part, list):
        return isinstance(key, int) and key < len(part)
    return isinstance(part, dict) and key in part


_PLACES = _places(read(CONFIG.encode(), "config.yml"))


@settings(max_examples=examples(1000))
@given(st.lists(st.tuples(st.sampled_from(_PLACES), _ODD), min_size=1, max_size=6))
def test_any_value_at_any_place_is_converted_or_refused(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    value = copy.deepcopy(read(CONFIG.encode(), "config.yml"))
    for place, odd in changes:
        part: Any = value
        for key in place[:-1]:
            inside = isinstance(part, dict) and key in part
            part = (
                part[key] if inside or (isinstance(part, list) and isinstance(key, int) and key < len(part)) else None
            )
        if isinstance(part, dict) or (isinstance(part, list) and isinstance(place[-1], int) and place[-1] < len(part)):
            part[place[-1]] = odd
    try:
        document = read(json.dumps(value).encode(), "config.yml")
        found = convert(document, "config.yml")
    except SettingError:
        return
    site_of(found)
    assert len(found.report.rows()) == len(list(leaves(document)))
    assert not [row for row in found.report.rows() if row.text == "not read"]
