"""Plans: an exported site changes nothing, a difference is one line, and only named things are removed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract import cameras, credentials, names
from shared.contract.cameras import Camera
from shared.contract.credentials import Credentials
from shared.contract.reading.mistakes import Mistakes
from shared.contract.rights.readers import Reader, new_reader
from shared.contract.rules import Enter, Rules, Zone
from shared.recordings.policy import Policy
from shared.runtime.errors import SettingError
from shared.site import export, references
from shared.site import format as site_format
from shared.site.journal import in_order
from shared.site.plan import Plan, Write, plan
from shared.site.state import State
from tests.support.examples import examples

RULES = Rules(
    zones={"door": Zone(polygon=[(0, 0), (1, 0), (1, 1)])}, rules=[Enter(id="in", zone="door", severity="critical")]
)
ENTRIES = st.tuples(
    st.builds(
        Camera,
        url=st.sampled_from(["rtsp://10.0.0.7", "rtsp://10.0.0.7:554/a?channel=1", "rtsps://cam/x", "file:///a.mp4"]),
        detect=st.sampled_from([None, "/sub", "/b?channel=1&subtype=1"]),
        enabled=st.booleans(),
        verify_tls=st.booleans(),
        priority=st.sampled_from([None, "high"]),
        fps=st.sampled_from([None, 2.0, 12.5]),
        classes=st.sampled_from([None, ["person"], ["person", "car"]]),
        tiles=st.sampled_from([None, "2x1"]),
        model=st.sampled_from([None, "plates"]),
    ),
    st.sampled_from([None, "me:p%40ss", "me:", "rtsp://10.0.0.7/a?user=me&password=hunter2"]),
)
POLICIES = st.dictionaries(
    st.sampled_from(["default", "camera.a", "camera.b", "group.doors"]),
    st.builds(Policy, keep_days=st.sampled_from([None, 3.0]), hold=st.sampled_from([None, True])),
)


def state_of(
    entries: Mapping[str, tuple[Camera, str | None]],
    policies: Mapping[str, Policy],
    rules: dict[str, Rules] | None = None,
    readers: tuple[Reader, ...] | None = (),
) -> State:
    """Return the state of a server on which these cameras were added, each with its secret."""
    shown, secrets = dict[str, Camera | SettingError](), dict[str, Credentials]()
    for id, (camera, secret) in sorted(entries.items()):
        if secret and "://" in secret:
            camera = msgspec.structs.replace(camera, url=cameras.new_camera(secret)[0].url, detect=None)
        if camera.detect:
            camera = cameras.new_camera(**msgspec.structs.asdict(camera))[0]
        has = None if camera.is_file else credentials.bound(secret, camera.url, not camera.verify_tls)
        stored, entry = cameras.apart(camera, has)
        shown[id] = cameras.joined(stored, entry)
        if entry:
            secrets[id] = entry
    groups = {
        key: msgspec.structs.replace(policy, cameras=tuple(entries)) if key.startswith("group.") else policy
        for key, policy in policies.items()
    }
    return State(shown, secrets, rules or {}, groups, {}, readers)


def planned(text: str, state: State, variables: Mapping[str, str], prune: bool = True) -> Plan:
    site = site_format.read(text.encode(), "site.yaml")
    logins = {id: references.resolve(camera, variables) for id, camera in site.cameras.items()}
    return plan(site, state, logins, ("cameras", "groups", "recording", "readers") if prune else ())


@given(st.dictionaries(st.sampled_from(["a", "b", "c-1", "c_1"]), ENTRIES, min_size=1), POLICIES, st.booleans())
@settings(max_examples=examples(300))
def test_an_exported_site_changes_nothing(
    entries: dict[str, tuple[Camera, str | None]], policies: dict[str, Policy], with_rules: bool
) -> None:
    policies = {key: p for key, p in policies.items() if not key.startswith("camera.") or key[-1] in entries}
    rules = dict.fromkeys(entries, RULES) if with_rules else {}
    state = state_of(entries, policies, rules, (new_reader("desk", ["alerts"], list(entries)),))
    text, left = export.document(state)
    assert not left
    assert "p@ss" not in text and "p%40ss" not in text and "hunter2" not in text
    assert planned(text, state, {}).changes == []
    into_nothing = planned(text, state_of({}, {}), _variables(state))
    assert {change.kind for change in into_nothing.changes} == {"add"}
    assert _result(into_nothing) == _entries(state)


def _variables(state: State) -> dict[str, str]:
    """Return what a person sets to move the site: the passwords of its cameras."""
    found = {}
    for id, entry in state.credentials.items():
        names_of = site_format.read(export.document(state)[0].encode(), "").cameras[id]
        for text in (names_of.password, names_of.url):
            if text and text.startswith("${"):
                found[text[2:-1]] = entry.secret if "://" in entry.secret else "p@ss" if "%40" in entry.secret else ""
    return {name: value for name, value in found.items() if value}


def _entries(state: State) -> dict[tuple[str, str], object]:
    return {(names.CAMERAS, id): camera for id, camera in state.cameras.items()}


def _result(found: Plan) -> dict[tuple[str, str], object]:
    """Return the cameras that the writes of a plan leave."""
    writes = {(w.bucket, w.key): w.value for change in found.changes for w in change.writes}
    result: dict[tuple[str, str], object] = {}
    for (bucket, key), value in writes.items():
        if bucket == names.CAMERAS and value:
            entry = writes.get((names.CREDENTIALS, key))
            result[bucket, key] = cameras.joined(cameras.decode(value), credentials.decode(entry) if entry else None)
    return result


TWO = {"two": (Camera(url="rtsp://10.0.0.7/a", detect="rtsp://10.0.0.7/b"), "me:p%40ss")}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("{url: 'rtsp://10.0.0.7/a', detect: /b}", []),
        ("{url: 'rtsp://10.0.0.7/a', detect: 'rtsp://10.0.0.7/b'}", []),
        ("{url: 'rtsp://10.0.0.7/a', detect: '${SUB}'}", []),
        ("{url: '${MAIN}', detect: /c}", ["~ camera two: detect rtsp://10.0.0.7/c (was rtsp://10.0.0.7/b)"]),
        ("{url: 'rtsp://10.0.0.7/a'}", ["~ camera two: detect not set (was rtsp://10.0.0.7/b)"]),
        (
            "{url: 'rtsp://10.0.0.8/a', detect: /b}",
            [
                "~ camera two: url rtsp://10.0.0.8/a (was rtsp://10.0.0.7/a), detect rtsp://10.0.0.8/b (was "
                "rtsp://10.0.0.7/b), password forgotten"
            ],
        ),
    ],
)
def test_a_substream_is_declared_changed_and_removed(text: str, lines: list[str]) -> None:
    found = planned(f"cameras: {{two: {text}}}", state_of(TWO, {}), {})
    assert [str(change) for change in found.changes] == lines


LOBBY = {"lobby": (Camera(url="rtsp://10.0.0.7/a", fps=2.0), "me:p%40ss")}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("cameras: {lobby: {url: 'rtsp://10.0.0.7/a', fps: 5}}", ["~ camera lobby: fps 5 (was 2)"]),
        (
            "cameras: {lobby: {url: 'rtsp://10.0.0.8/a', fps: 2}}",
            ["~ camera lobby: url rtsp://10.0.0.8/a (was rtsp://10.0.0.7/a), password forgotten"],
        ),
        ("cameras: {lobby: {url: 'rtsp://10.0.0.7/a', fps: 2, user: me, password: '${P}'}}", []),
        (
            "cameras: {lobby: {url: 'rtsp://10.0.0.7/a', fps: 2, user: you, password: '${P}'}}",
            ["~ camera lobby: password for rtsp://10.0.0.7:554"],
        ),
        (
            "cameras: {gate: {url: 'rtsp://me:${Q}@h/a'}}",
            ["+ camera gate: url rtsp://h/a, password"],
        ),
        ("recording: {keep_days: 3}", ["+ recording of all cameras: keep_days 3"]),
        ("readers: {desk: {}}", ["+ reader desk: reads events.>"]),
    ],
)
def test_what_differs_is_a_line(text: str, lines: list[str]) -> None:
    found = planned(text, state_of(LOBBY, {}), {"P": "p@ss", "Q": "p%40ss"}, prune=False)
    assert list(map(str, found.changes)) == lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cameras: {gate: {url: 'rtsp://h', user: me, password: '${P}'}}", "cameras.gate: the variable P is not set"),
        ("cameras: {lobby: {url: 'rtsp://other', user: me, password: '${P}'}}", "is for another address"),
        ("cameras: {lobby: {url: 'rtsp://h', user: me, password_file: /no/such}}", "/no/such can't be read"),
        ("groups: {g: {cameras: [loby]}}", "groups.g.cameras[0]: there is no camera 'loby': did you mean 'lobby'?"),
        ("readers: {r: {cameras: [x]}}", "readers.r.cameras[0]: there is no camera 'x'"),
    ],
)
def test_what_cannot_be_applied_is_refused(text: str, words: str) -> None:
    with pytest.raises((Mistakes, SettingError)) as e:
        planned(text, state_of(LOBBY, {}), {})
    assert words in str(e.value)


def test_readers_elsewhere_need_their_folder() -> None:
    with pytest.raises(Mistakes, match="give --accounts"):
        planned("readers: {desk: {}}", state_of({}, {}, readers=None), {})


def test_a_reader_is_never_given_other_rights() -> None:
    with pytest.raises(Mistakes, match="choose another name"):
        planned("readers: {desk: {}}", state_of({}, {}, readers=(new_reader("desk", ["alerts"], []),)), {})


def test_only_named_sections_are_pruned() -> None:
    state = state_of(LOBBY, {"default": Policy(hold=True)}, {"lobby": RULES}, (new_reader("desk", [], []),))
    site = site_format.read(b"readers: {}", "")
    found = plan(site, state, {}, {"readers"})
    assert [str(change) for change in found.changes] == ["- reader desk: reads events.>"]
    assert len(found.notices) == 3 and all("--prune removes it" in notice for notice in found.notices)


def test_masks_come_before_their_camera_and_go_after_it() -> None:
    writes = [
        Write(bucket, "a", 0, value)
        for value in (None, b"{}")
        for bucket in (names.CAMERAS, names.RECORDINGS, names.RULES, names.CREDENTIALS)
    ]
    ordered = [(write.bucket, write.value is None) for write in in_order(writes)]
    assert ordered.index((names.RECORDINGS, False)) < ordered.index((names.CAMERAS, False))
    assert ordered.index((names.CREDENTIALS, False)) < ordered.index((names.CAMERAS, False))
    assert ordered.index((names.CAMERAS, True)) < ordered.index((names.RECORDINGS, True))
