"""Rule files: every mistake is named by its path."""

from __future__ import annotations

import copy
import json
import math
import zoneinfo
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.contract import geometry, rules
from shared.contract.reading.mistakes import Mistakes
from shared.contract.rules import Count, Rule, Rules
from tests.support.examples import examples
from tests.support.worlds.rule_files import MISTAKEN, SQUARE, VALID, named, valid


def test_the_example_is_valid_and_parses_as_documented() -> None:
    found = rules.read(VALID.encode(), "a file")
    assert rules.check(valid()) == []
    assert [r.id for r in found.rules] == [
        "in",
        "out",
        "stay",
        "cross",
        "many",
        "few",
        "near",
        "stop",
        "wrong",
        "fast",
        "crowd",
    ]
    assert len({type(r) for r in found.rules}) == 10
    assert found.lines["gate"].start == (0.5, 0.95) and found.schedules["night"].start == "22:00"
    assert found.zone_info() == zoneinfo.ZoneInfo("Europe/Berlin")
    assert rules.decode(json.dumps(valid()).encode()) == found


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "null"])
def test_an_empty_file_has_no_rules(text: str) -> None:
    assert rules.read(text.encode(), "a file") == Rules()
    assert rules.check({}) == rules.check(None) == []


@pytest.mark.parametrize(("text", "path", "part"), MISTAKEN, ids=[str(n) for n in range(len(MISTAKEN))])
def test_a_mistake_is_named_by_its_path(text: str, path: str, part: str) -> None:
    (found,) = named(text)
    assert found.path == path and part in found.text
    assert "msgspec" not in found.text and "`" not in found.text


@pytest.mark.parametrize("value", ["!!bool x", "!!int ''", "!!float ''", "!!timestamp x", "!!binary x", "!!set {a}"])
def test_a_yaml_error_is_a_mistake(value: str) -> None:
    assert named(f"timezone: {value}") and named(value)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (BOMB, "aliases"),
        ("zones: " + "[" * 900 + "]" * 900, "an object is expected"),
        ("[" * 100_000, "nest"),
        ("a: " + "{a: " * 50_000, "nest"),
        ("# " + "x" * 300_000, "bytes"),
    ],
)
def test_yaml_that_would_exhaust_memory_is_a_mistake(text: str, part: str) -> None:
    (found,) = named(text)
    assert part in found.text and len(str(found)) < 500


@pytest.mark.parametrize(
    "text",
    [
        """
zones:
  door: {polygon: [[0, 0], [1, 0], [1, 1]]}
  door: {polygon: [[0, 0], [0, 1], [1, 1]]}
lines: {}
rules:
  - {id: in, kind: enter, zone: door}
  - {id: out, kind: exit, zone: door, id: out, hold_s: 1, id: left}
lines: {}
""",
        """{"zones": {"door": {"polygon": [[0, 0], [1, 0], [1, 1]]}, "door": {"polygon": [[0, 0], [0, 1], [1, 1]]}},
        "lines": {}, "rules": [{"id": "in", "kind": "enter", "zone": "door"},
        {"id": "out", "kind": "exit", "zone": "door", "id": "out", "hold_s": 1, "id": "left"}], "lines": {}}""",
    ],
    ids=["yaml", "json"],
)
def test_a_duplicate_is_a_mistake(text: str) -> None:
    """The last of two zones with one name would win silently."""
    assert {(m.path, m.text) for m in named(text)} == {
        ("zones.door", "it is there 2 times: give it once"),
        ("lines", "it is there 2 times: give it once"),
        ("rules[1].id", "it is there 3 times: give it once"),
    }


def test_a_question_in_braces_is_a_question() -> None:
    text = """
        zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}
        rules: [{id: in, kind: enter, zone: door, verify: Does someone run?, severity: info}]
    """
    (rule,) = rules.read(text.encode(), "a file").rules
    assert rule.verify == "Does someone run?"


@pytest.mark.parametrize("data", [b"\xff", b"\xff\xfe\x00", b"zones: \xc3", b"\x00", b'"\\ud800"', b"timezone: \x7f"])
def test_invalid_text_is_a_mistake(data: bytes) -> None:
    with pytest.raises(Mistakes):
        rules.read(data, "a file")


def test_all_mistakes_are_named_together() -> None:
    text = f"""
    timezone: Mars
    labels: [car]
    zones:
      door: {{polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]}}
      'a b': {{polygon: {SQUARE}, anchor: top}}
    lines: {{gate: {{from: [0, 2], to: [1, x]}}}}
    filters: {{car: {{min_area: 0.5, max_area: 0.1}}}}
    schedules: {{day: {{from: '08:00', until: '08:00', days: [mon, may]}}}}
    colour: red
    null: 1
    rules:
      - {{id: a, kind: enter, zone: dor}}
      - {{id: a, kind: count}}
      - {{id: b, kind: speed}}
      - {{id: c, kind: flying}}
      - 5
    """
    assert sorted(m.path for m in named(text)) == sorted(
        [
            *("timezone", "zones.door.polygon", "zones.a b", "zones.a b.anchor", "lines.gate.from[1]"),
            *("lines.gate.to[1]", "filters.car", "schedules.day.days[1]", "colour", "None"),
            *("rules[0].zone", "rules[1].id", "rules[1]", "rules[2]", "rules[3].kind", "rules[4]"),
        ]
    )


WORDS = [
    *("zones", "masks", "lines", "filters", "schedules", "rules", "labels", "timezone", "kind", "id", "zone", "line"),
    *("polygon", "from", "to", "until", "days", "seconds", "over", "under", "verify", "alert", "schedule", "anchor"),
    *(
        "enter",
        "speed",
        "count",
        "crossing",
        "door",
        "gate",
        "night",
        "person",
        "UTC",
        "08:00",
        "mon",
        "unless_rejected",
    ),
]
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from(WORDS)
    | st.sampled_from([0, 0.0, 0.5, 1, 1.5, -1, 10**400, math.nan, math.inf, -math.inf, "", "x" * 65, "\0"])
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
)
keys = st.sampled_from(WORDS) | st.text(max_size=3)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys | st.none() | st.integers(), v, max_size=4)
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a value."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += [(value, key), *places(item)]
    return found


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """The example, with up to three of its parts replaced, taken out, given another name, or exchanged."""
    value = copy.deepcopy(valid())
    for _ in range(draw(st.integers(0, 3))):
        where = places(value)
        if not where:
            break
        container, key = draw(st.sampled_from(where))
        match draw(st.sampled_from(["replace", "remove", "rename", "exchange"])):
            case "replace":
                container[key] = draw(values)
            case "remove":
                del container[key]
            case "rename" if isinstance(container, dict):
                container[draw(keys)] = container.pop(key)
            case _:
                other, at = draw(st.sampled_from(where))
                container[key] = copy.deepcopy(other[at])
    return value


def means_something(found: Rules) -> bool:
    """What is well formed, and has nothing that is not there and nothing that never holds."""
    areas = [*found.zones.values(), *found.masks]
    ids = [r.id for r in found.rules]
    return (
        found.timezone in zoneinfo.available_timezones()
        and not any(geometry.crosses_itself(a.polygon) or geometry.area(a.polygon) == 0 for a in areas)
        and all(line.start != line.to for line in found.lines.values())
        and all(f.min_area <= f.max_area and f.min_height <= f.max_height for f in found.filters.values())
        and all(s.start != s.until for s in found.schedules.values())
        and len(set(ids)) == len(ids)
        and all(_refers(r, found) for r in found.rules)
    )


def _refers(rule: Rule, found: Rules) -> bool:
    labels = {*(rule.labels or ()), *getattr(rule, "to", ())}
    return (
        getattr(rule, "zone", None) in {None, *found.zones}
        and getattr(rule, "line", None) in {None, *found.lines}
        and rule.schedule in {None, *found.schedules}
        and (found.labels is None or labels <= set(found.labels))
        and not (isinstance(rule, Count) and (rule.over is None) == (rule.under is None))
        and not (rule.alert == "unless_rejected" and rule.verify is None)
    )


@pytest.mark.slow
@given(spoiled() | values)
@settings(max_examples=examples(250))
def test_any_file_is_valid_or_its_mistakes_are_named(value: Any) -> None:
    found = rules.check(value)
    try:
        right = means_something(msgspec.convert({} if value is None else value, Rules))
    except msgspec.ValidationError:
        right = False
    assert (found == []) == right
    assert all(isinstance(m.path, str) and m.text for m in found)


@given(spoiled())
@settings(max_examples=examples(100))
def test_a_file_has_the_mistakes_of_its_value(value: Any) -> None:
    try:
        text = msgspec.yaml.encode(value)
        assume(msgspec.yaml.decode(text) == value)
    except (msgspec.MsgspecError, UnicodeError, ValueError, TypeError):
        assume(False)
    expected = rules.check(value)
    try:
        assert rules.read(text, "a file") == msgspec.convert(value, Rules) and not expected
    except Mistakes as e:
        assert e.all == expected
