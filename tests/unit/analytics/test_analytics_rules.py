"""Rule files: every mistake by its path, whatever they say; schedules; and the geometry of what they draw."""

from __future__ import annotations

import copy
import datetime as dt
import itertools
import json
import math
import zoneinfo
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.contract import geometry, rules
from shared.contract.reading.mistakes import Mistake
from shared.contract.rules import DAYS, Count, Mistakes, Rule, Rules, Schedule
from tests.support.examples import examples
from tests.support.schemas import ValidationError, Validator

VALID = """
timezone: Europe/Berlin
labels: [person, car]
zones:
  door: {polygon: [[0.4, 0.3], [0.6, 0.3], [0.6, 0.95], [0.4, 0.95]]}
  yard: {polygon: [[0, 0], [1, 0], [0.5, 1]], anchor: center}
masks:
  - {polygon: [[0, 0], [0.2, 0], [0.2, 0.1]], labels: [car]}
lines:
  gate: {from: [0.5, 0.95], to: [0.5, 0.3]}
filters:
  person: {min_score: 0.5, min_height: 0.05, max_area: 0.5}
schedules:
  night: {days: [mon, fri], from: '22:00', until: '06:00'}
  noon: {from: '12:00', until: '13:00'}
rules:
  - {id: in, kind: enter, zone: door, labels: [person], hold_s: 1, schedule: night}
  - {id: out, kind: exit, zone: door}
  - {id: stay, kind: loitering, zone: yard, seconds: 30, cooldown_s: 60, severity: critical}
  - {id: cross, kind: crossing, line: gate, direction: in, alert: start}
  - {id: many, kind: count, over: 3, zone: door}
  - {id: few, kind: count, under: 1}
  - {id: near, kind: proximity, labels: [person], to: [car], distance: 0.1}
  - {id: stop, kind: stopped, seconds: 10, labels: [car]}
  - {id: wrong, kind: wrong_way, direction: 90, tolerance: 45, zone: yard}
  - {id: fast, kind: speed, over: 0.5, verify: Does someone run?, alert: unless_rejected}
  - {id: crowd, kind: crowding, objects: 4}
"""
SCHEMA = rules.json_schema()


def valid() -> dict[str, Any]:
    value: dict[str, Any] = msgspec.yaml.decode(VALID.encode())
    return value


def named(text: str) -> list[Mistake]:
    """The mistakes that a file is refused for."""
    with pytest.raises(Mistakes) as refused:
        rules.read(text.encode(), "a file")
    assert str(refused.value).startswith(f"a file has {len(refused.value.all)} mistake")
    assert all(str(m) in str(refused.value) for m in refused.value.all)
    return refused.value.all


# ---- files that are right


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


# ---- mistakes

SQUARE = "[[0, 0], [1, 0], [1, 1], [0, 1]]"
MISTAKEN = [
    # Form.
    ("[1]", "", "an object is expected"),
    ("zone: {}", "zone", "did you mean 'zones'?"),
    (f"zones: {{door: {{polygn: [], polygon: {SQUARE}}}}}", "zones.door.polygn", "did you mean 'polygon'?"),
    ("zones: {door: {}}", "zones.door", "its field 'polygon' is missing"),
    ("zones: {door: 5}", "zones.door", "an object is expected, with 'polygon', not 5"),
    ("zones: 5", "zones", "an object is expected"),
    ("masks: {a: 1}", "masks", "a list is expected"),
    ("zones: {door: {polygon: [[0, 0], [1, 1]]}}", "zones.door.polygon", "a list of length >= 3"),
    (f"zones: {{door: {{polygon: [{', '.join(['[0, 0]'] * 65)}]}}}}", "zones.door.polygon", "length <= 64"),
    ("zones: {door: {polygon: [[0, 0], [1, 0], [1, 1.5]]}}", "zones.door.polygon[2][1]", "<= 1.0"),
    ("zones: {door: {polygon: [[0, 0], [1, 0], [1, -1]]}}", "zones.door.polygon[2][1]", ">= 0.0"),
    ("zones: {door: {polygon: [[0, 0], [1, 0], [1, .nan]]}}", "zones.door.polygon[2][1]", "not nan"),
    ("zones: {door: {polygon: [[0, 0], [1, 0], [1, x]]}}", "zones.door.polygon[2][1]", "a number is expected, not 'x'"),
    (
        "zones: {door: {polygon: [[0, 0], [1, 0], [1]]}}",
        "zones.door.polygon[2]",
        "a list of length 2 is expected",
    ),
    ("zones: {door: {polygon: [[0, 0], [1, 0], 7]}}", "zones.door.polygon[2]", "a list is expected, not 7"),
    (f"zones: {{'front door': {{polygon: {SQUARE}}}}}", "zones.front door", "as a name, a text of 1 to 64 letters"),
    (f"zones: {{12: {{polygon: {SQUARE}}}}}", "zones.12", "as a name, a text of 1 to 64 letters"),
    (f"zones: {{door: {{polygon: {SQUARE}, anchor: top}}}}", "zones.door.anchor", "one of bottom, center is expected"),
    (f"masks: [{{polygon: {SQUARE}, labels: []}}]", "masks[0].labels", "length >= 1"),
    (f"masks: [{{polygon: {SQUARE}, labels: ['']}}]", "masks[0].labels[0]", "a text of length >= 1"),
    ("lines: {gate: {from: [0, 0]}}", "lines.gate", "its field 'to' is missing"),
    ("lines: {gate: {from: [0, 0], to: [1, 1], til: 1}}", "lines.gate.til", "there is no such field"),
    ("filters: {person: {min_score: 50}}", "filters.person.min_score", "<= 1.0 is expected, not 50"),
    ("filters: {person: {min_score: .inf}}", "filters.person.min_score", "not inf"),
    ("filters: {person: {min_score: yes}}", "filters.person.min_score", "a number is expected, not True"),
    ("schedules: {night: {from: '7:30'}}", "schedules.night.from", "a time in quotes, such as '07:30', is expected"),
    ("schedules: {night: {until: '24:01'}}", "schedules.night.until", "a time in quotes"),
    (
        "schedules: {night: {until: 17:30}}",
        "schedules.night.until",
        "in quotes, such as '07:30', is expected, not 1050",
    ),
    ("schedules: {night: {days: [monday]}}", "schedules.night.days[0]", "one of mon, tue"),
    ("schedules: {night: {days: []}}", "schedules.night.days", "length >= 1"),
    ("labels: person", "labels", "a list is expected, not 'person'"),
    ("rules: [{kind: speed, over: 1}]", "rules[0]", "its field 'id' is missing"),
    ("rules: [{id: a}]", "rules[0]", "its field 'kind' is missing: one of enter, exit"),
    ("rules: [{id: a, kind: loiter}]", "rules[0].kind", "there is no kind 'loiter': did you mean 'loitering'?"),
    ("rules: [{id: a, kind: [speed]}]", "rules[0].kind", "there is no kind"),
    ("rules: [{id: a, kind: {}}]", "rules[0].kind", "there is no kind"),
    ("rules: [{id: a, kind: null}]", "rules[0].kind", "there is no kind"),
    ("rules: [speed]", "rules[0]", "an object is expected, with 'kind'"),
    ("rules: [{id: a.b, kind: speed, over: 1}]", "rules[0].id", "letters, digits, - and _ is expected"),
    ('rules: [{id: "a\\n", kind: speed, over: 1}]', "rules[0].id", "letters, digits, - and _ is expected"),
    ("rules: [{id: a, kind: speed, over: 0}]", "rules[0].over", "> 0.0"),
    ("rules: [{id: a, kind: speed, over: .nan}]", "rules[0].over", "not nan"),
    ("rules: [{id: a, kind: speed, over: .inf}]", "rules[0].over", "not inf"),
    ("rules: [{id: a, kind: speed, over: -.inf}]", "rules[0].over", "not -inf"),
    ("rules: [{id: a, kind: speed, over: 1, hold_s: .nan}]", "rules[0].hold_s", "not nan"),
    ("rules: [{id: a, kind: speed, over: 1, hold_s: -1}]", "rules[0].hold_s", ">= 0.0"),
    ("rules: [{id: a, kind: speed, over: 1, cooldown_s: 86401}]", "rules[0].cooldown_s", "<= 86400.0"),
    ("rules: [{id: a, kind: speed, over: 1, severity: high}]", "rules[0].severity", "one of info, warning, critical"),
    ("rules: [{id: a, kind: speed, over: 1, alert: never}]", "rules[0].alert", "one of confirmed, unless_rejected"),
    ("rules: [{id: a, kind: speed, over: 1, verify: ''}]", "rules[0].verify", "a text of length >= 1"),
    ("rules: [{id: a, kind: speed, over: 1, seconds: 1}]", "rules[0].seconds", "there is no such field"),
    ("rules: [{id: a, kind: count, over: 1.5}]", "rules[0].over", "a whole number is expected"),
    ("rules: [{id: a, kind: wrong_way, direction: 360}]", "rules[0].direction", "< 360.0"),
    ("rules: [{id: a, kind: wrong_way, direction: 0, tolerance: 180}]", "rules[0].tolerance", "< 180.0"),
    ("rules: [{id: a, kind: crowding, objects: 1}]", "rules[0].objects", ">= 2"),
    # Meaning.
    ("timezone: Europe/Atlantis", "timezone", "'Europe/Atlantis' is no time zone"),
    ("timezone: ''", "timezone", "'' is no time zone"),
    ("timezone: ../../etc/passwd", "timezone", "is no time zone"),
    ("zones: {door: {polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]}}", "zones.door.polygon", "its edges cross each other"),
    ("masks: [{polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]}]", "masks[0].polygon", "its edges cross each other"),
    ("zones: {door: {polygon: [[0, 0], [0.5, 0.5], [1, 1]]}}", "zones.door.polygon", "it has no area"),
    ("zones: {door: {polygon: [[0, 0], [1, 0], [1, 1], [0, 0]]}}", "zones.door.polygon", "a corner follows itself"),
    ("masks: [{polygon: [[0, 0], [1, 0], [1, 0], [1, 1]]}]", "masks[0].polygon", "a corner follows itself"),
    (f"rules: [{{id: a, kind: count, over: {10**26}}}]", "rules[0].over", "<= 10000"),
    ("rules: [{id: a, kind: count, over: 10001}]", "rules[0].over", "<= 10000"),
    ("rules: [{id: a, kind: crowding, objects: 10001}]", "rules[0].objects", "<= 10000"),
    ("lines: {gate: {from: [0.5, 0.5], to: [0.5, 0.5]}}", "lines.gate", "it has no length"),
    ("filters: {person: {min_area: 0.5, max_area: 0.1}}", "filters.person", "its min_area is over its max_area"),
    (
        "filters: {person: {min_height: 0.5, max_height: 0.1}}",
        "filters.person",
        "its min_height is over its max_height",
    ),
    ("schedules: {day: {from: '08:00', until: '08:00'}}", "schedules.day", "it ends when it begins"),
    ("rules: [{id: a, kind: enter, zone: door}]", "rules[0].zone", "there is no zone 'door': none is given"),
    (
        f"zones: {{door: {{polygon: {SQUARE}}}}}\nrules: [{{id: a, kind: enter, zone: dor}}]",
        "rules[0].zone",
        "there is no zone 'dor': did you mean 'door'?",
    ),
    (
        "lines: {gate: {from: [0, 0], to: [1, 1]}}\nrules: [{id: a, kind: crossing, line: x}]",
        "rules[0].line",
        "there is no line 'x': there is gate",
    ),
    ("rules: [{id: a, kind: speed, over: 1, schedule: night}]", "rules[0].schedule", "there is no schedule 'night'"),
    ("rules: [{id: a, kind: speed, over: 1}, {id: a, kind: speed, over: 2}]", "rules[1].id", "the id of rules[0] too"),
    ("labels: [car]\nrules: [{id: a, kind: speed, over: 1, labels: [person]}]", "rules[0].labels[0]", "is not tracked"),
    ("labels: [car]\nrules: [{id: a, kind: proximity, to: [person], distance: 1}]", "rules[0].to[0]", "is not tracked"),
    ("rules: [{id: a, kind: count}]", "rules[0]", "give one of 'over' and 'under'"),
    ("rules: [{id: a, kind: count, over: 1, under: 1}]", "rules[0]", "give one of 'over' and 'under'"),
    ("rules: [{id: a, kind: speed, over: 1, alert: unless_rejected}]", "rules[0].alert", "needs 'verify'"),
    # Neither.
    ("zones: {", "", "neither YAML nor JSON"),
    ("timezone: !!python/object:os.system x", "", "neither YAML nor JSON"),
    ("timezone: 2024-99-99", "", "neither YAML nor JSON"),
    (f"zones: {'[' * 5000}{']' * 5000}", "", "neither YAML nor JSON"),
]


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


# ---- whatever it says

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


# ---- stored and read again

names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
shares = st.floats(0, 1)
prompts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.just("a\x7f\x85\u2028b")


@st.composite
def filters(draw: st.DrawFn) -> dict[str, float]:
    least, most = sorted([draw(shares), draw(shares | st.sampled_from([1e-5, 1e-6, 1e-7, 5e-324]))])
    return {"min_area": least, "max_area": most, "min_score": draw(shares)}


@st.composite
def books(draw: st.DrawFn) -> Rules:
    """Rules that are right."""
    value = copy.deepcopy(valid())
    value["rules"] = draw(st.lists(st.sampled_from(value["rules"]), unique_by=lambda r: r["id"]))
    for rule in value["rules"]:
        rule |= draw(st.fixed_dictionaries({}, optional={"verify": prompts, "hold_s": st.floats(0, 1e4)}))
    del value["labels"]
    value["filters"] = draw(st.dictionaries(prompts, filters(), max_size=3))
    name, key = draw(names), draw(st.sampled_from(["zones", "lines", "schedules"]))
    value[key][name] = next(iter(value[key].values()))
    return msgspec.convert(value, Rules)


@given(books())
def test_stored_rules_are_read_back(book: Rules) -> None:
    assert rules.decode(rules.encode(book)) == book
    assert rules.check(msgspec.json.decode(rules.encode(book))) == []


# ---- the schema


def test_the_schema_accepts_valid_rules() -> None:
    Validator.check_schema(SCHEMA)
    validator = Validator(SCHEMA)
    validator.validate(valid())
    validator.validate({})
    validator.validate(json.loads(rules.encode(rules.read(VALID.encode(), "a file"))))


def _refused_by_form() -> list[str]:
    found = []
    for text, _, part in MISTAKEN:
        # A schema knows nothing of numbers that JSON has not, nor of the meaning of what is well formed.
        if "neither" in part or ".nan" in text or "12:" in text:
            continue
        value = msgspec.yaml.decode(text)
        try:
            msgspec.convert(value, Rules)
        except msgspec.ValidationError:
            found.append(text)
    return found


@pytest.mark.parametrize("text", _refused_by_form())
def test_the_schema_refuses_malformed_rules(text: str) -> None:
    with pytest.raises(ValidationError):
        Validator(SCHEMA).validate(msgspec.yaml.decode(text))


# ---- schedules

MONDAY = dt.datetime(2026, 11, 23)


def on(day: int, clock: str) -> dt.datetime:
    """day: 0 is Monday."""
    hour, minute = map(int, clock.split(":"))
    return MONDAY + dt.timedelta(days=day, hours=hour, minutes=minute)


def schedule(**fields: Any) -> Schedule:
    return msgspec.convert(fields, Schedule)


def test_a_schedule_includes_its_first_minute_and_excludes_its_last() -> None:
    noon = schedule(**{"from": "12:00", "until": "13:00", "days": ["mon"]})
    assert [noon.holds(on(0, c)) for c in ("11:59", "12:00", "12:59", "13:00")] == [False, True, True, False]
    assert not noon.holds(on(1, "12:30"))


def test_a_schedule_over_midnight_belongs_to_its_first_day() -> None:
    night = schedule(**{"from": "22:00", "until": "06:00", "days": ["fri"]})
    holds = {"fri": [on(4, "22:00"), on(4, "23:59")], "sat": [on(5, "00:00"), on(5, "05:59")]}
    assert all(night.holds(t) for times in holds.values() for t in times)
    not_then = [on(4, "05:59"), on(4, "00:00"), on(4, "21:59"), on(5, "06:00"), on(5, "22:00"), on(3, "23:00")]
    assert not any(night.holds(t) for t in not_then)


def test_a_night_of_sunday_ends_on_monday() -> None:
    night = schedule(**{"from": "22:00", "until": "06:00", "days": ["sun"]})
    assert night.holds(on(7, "05:00")) and night.holds(on(0, "05:00")) and not night.holds(on(1, "05:00"))


def test_a_schedule_without_times_is_the_whole_day() -> None:
    weekend = schedule(days=["sat", "sun"])
    hours = [on(day, clock) for day in range(7) for clock in ("00:00", "12:00", "23:59")]
    assert [weekend.holds(t) for t in hours] == [t.weekday() >= 5 for t in hours]
    assert all(schedule().holds(t) for t in hours)
    until_midnight = [schedule(**{"from": "22:00", "until": until}) for until in ("24:00", "00:00")]
    assert all(s.holds(on(0, "23:59")) and not s.holds(on(1, "00:00")) for s in until_midnight)


clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)) | st.just("24:00")
weeks = st.lists(st.sampled_from(DAYS), min_size=1, unique=True)


@given(clocks, clocks, weeks, st.integers(0, 7 * 24 * 60 - 1))
def test_a_schedule_holds_in_its_range_on_each_of_its_days(
    start: str, until: str, days: list[str], minute: int
) -> None:
    assume(start != until)

    def minutes(clock: str) -> int:
        return int(clock[:2]) * 60 + int(clock[3:])

    first, last = minutes(start), minutes(until)
    length = last - first if last > first else last - first + 24 * 60
    begins = [DAYS.index(d) * 24 * 60 + first for d in days]  # type: ignore[arg-type]
    expected = any((minute - b) % (7 * 24 * 60) < length for b in begins)
    found = schedule(**{"from": start, "until": until, "days": days})
    assert found.holds(MONDAY + dt.timedelta(minutes=minute)) == expected


def test_a_schedule_follows_the_cameras_time_zone() -> None:
    night = schedule(**{"from": "22:00", "until": "06:00", "days": ["mon"]})
    utc = dt.datetime(2026, 11, 23, 21, 30, tzinfo=dt.UTC)
    berlin = rules.read(b"timezone: Europe/Berlin", "a file").zone_info()
    assert night.holds(utc.astimezone(berlin)) and not night.holds(utc)
    tokyo = rules.read(b"timezone: Asia/Tokyo", "a file").zone_info()
    assert not night.holds(utc.astimezone(tokyo))


# ---- geometry

# On a grid, so that what touches does so exactly.
grid = st.integers(-8, 8).map(lambda n: n / 8)
points = st.tuples(grid, grid)
anywhere = st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5))
aspects = st.sampled_from([0.5625, 1.0, 4 / 3, 16 / 9])


@given(anywhere, st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)), st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)))
def test_inside_a_rectangle(point: tuple[float, float], xs: tuple[float, float], ys: tuple[float, float]) -> None:
    corners = [(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1])]
    assume(point[0] not in xs and point[1] not in ys)
    expected = xs[0] < point[0] < xs[1] and ys[0] < point[1] < ys[1]
    for shift in range(4):
        turned = corners[shift:] + corners[:shift]
        assert geometry.inside(turned, point) == geometry.inside(turned[::-1], point) == expected


@given(anywhere, st.integers(3, 12), st.floats(0, 6))
def test_inside_a_regular_polygon_is_left_of_all_its_edges(point: tuple[float, float], n: int, turn: float) -> None:
    angles = [turn + 2 * math.pi * k / n for k in range(n)]
    corners = [(0.5 + 0.4 * math.cos(a), 0.5 + 0.4 * math.sin(a)) for a in angles]
    sides = [geometry.right_of(a, b, point, 1.0) for a, b in itertools.pairwise([*corners, corners[0]])]
    assume(all(abs(s) > 1e-9 for s in sides))
    assert geometry.inside(corners, point) == all(s > 0 for s in sides)
    if geometry.inside(corners, point):
        assert geometry.border(corners, point, 1.0) == pytest.approx(min(sides))


def test_inside_a_polygon_with_a_bay() -> None:
    u = [(0.0, 0.0), (0.3, 0.0), (0.3, 0.7), (0.7, 0.7), (0.7, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    assert all(geometry.inside(u, p) for p in [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)])
    assert not any(geometry.inside(u, p) for p in [(0.5, 0.1), (0.5, 0.6), (-0.1, 0.5), (1.1, 0.9), (0.5, 1.1)])
    assert geometry.area(u) == pytest.approx(1 - 0.4 * 0.7)


def way(start: tuple[float, float], end: tuple[float, float], point: tuple[float, float], aspect: float = 1.0) -> float:
    """The shortest way from a point to a stretch, in heights."""
    dx, dy = (end[0] - start[0]) * aspect, end[1] - start[1]
    px, py = (point[0] - start[0]) * aspect, point[1] - start[1]
    length = dx * dx + dy * dy
    share = min(1.0, max(0.0, (px * dx + py * dy) / length)) if length else 0.0
    return math.hypot(px - share * dx, py - share * dy)


@given(points, points, points, points)
def test_intersection_is_symmetric(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> None:
    found = geometry.meet(a, b, c, d)
    assert all(geometry.meet(*p, *q) == found for p in ((a, b), (b, a)) for q in ((c, d), (d, c)))
    assert all(geometry.meet(*q, *p) == found for p in ((a, b), (b, a)) for q in ((c, d), (d, c)))


@given(points, points, points, points)
def test_intersecting_segments_share_a_point_and_others_are_apart(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> None:
    # The nearest way between two stretches that do not meet is from an end of one of them.
    ends = [way(c, d, a), way(c, d, b), way(a, b, c), way(a, b, d)]
    crosses = (
        a != b
        and c != d
        and all(
            geometry.right_of(*line, p, 1) * geometry.right_of(*line, q, 1) < 0
            for line, p, q in (((a, b), c, d), ((c, d), a, b))
        )
    )
    assert geometry.meet(a, b, c, d) == (crosses or min(ends) < 1e-9)


@given(points, points, points, aspects)
def test_right_is_the_negative_of_left_and_rotates_with_the_line(
    start: tuple[float, float], end: tuple[float, float], point: tuple[float, float], aspect: float
) -> None:
    assume(start != end)
    right = geometry.right_of(start, end, point, aspect)
    assert geometry.right_of(end, start, point, aspect) == pytest.approx(-right)
    assert abs(right) <= way(start, end, point, aspect) + 1e-9


def test_right_is_seen_along_the_line() -> None:
    up, right = ((0.5, 1.0), (0.5, 0.0)), ((0.0, 0.5), (1.0, 0.5))
    assert geometry.right_of(*up, (0.75, 0.5), 2.0) == pytest.approx(0.5)
    assert geometry.right_of(*up, (0.25, 0.5), 2.0) == pytest.approx(-0.5)
    # y goes down.
    assert geometry.right_of(*right, (0.5, 0.75), 2.0) == pytest.approx(0.25)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_an_angle_between_headings_is_at_most_half_a_turn(a: float, b: float) -> None:
    found = geometry.turned(a, b)
    assert 0 <= found <= 180
    assert found == pytest.approx(geometry.turned(b, a), abs=1e-6)
    assert math.cos(math.radians(found)) == pytest.approx(math.cos(math.radians(a - b)), abs=1e-6)


@pytest.mark.parametrize(("movement", "degrees"), [((0, -1), 0), ((1, 0), 90), ((0, 1), 180), ((-1, 0), 270)])
def test_headings_are_clockwise_from_up(movement: tuple[float, float], degrees: float) -> None:
    assert geometry.heading(*movement) == degrees


@given(st.tuples(points, points), st.tuples(points, points), aspects)
def test_the_distance_of_boxes_is_that_of_their_nearest_points(
    a: tuple[tuple[float, float], tuple[float, float]],
    b: tuple[tuple[float, float], tuple[float, float]],
    aspect: float,
) -> None:
    def box(p: tuple[float, float], q: tuple[float, float]) -> tuple[float, float, float, float]:
        return min(p[0], q[0]), min(p[1], q[1]), max(p[0], q[0]), max(p[1], q[1])

    one, other = box(*a), box(*b)
    found = geometry.apart(one, other, aspect)
    steps = [n / 8 for n in range(-8, 9)]
    near: Callable[[float, tuple[float, ...]], float] = lambda v, ends: min(max(v, ends[0]), ends[1])  # noqa: E731
    least = min(
        math.hypot((near(x, one[::2]) - near(x, other[::2])) * aspect, near(y, one[1::2]) - near(y, other[1::2]))
        for x in steps
        for y in steps
    )
    assert found == pytest.approx(least) == geometry.apart(other, one, aspect)


@given(st.lists(points, min_size=3, max_size=7, unique=True))
def test_self_intersection_does_not_depend_on_the_order_of_points(corners: list[tuple[float, float]]) -> None:
    found = geometry.crosses_itself(corners)
    assert geometry.crosses_itself(corners[::-1]) == geometry.crosses_itself(corners[1:] + corners[:1]) == found
    assert not (found and len(corners) == 3)


def test_stars_intersect_themselves_and_round_polygons_do_not() -> None:
    angles = [2 * math.pi * k / 5 for k in range(5)]
    around = [(math.cos(a), math.sin(a)) for a in angles]
    assert not geometry.crosses_itself(around)
    assert geometry.crosses_itself([around[k * 2 % 5] for k in range(5)])
    assert geometry.crosses_itself([(0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)])
