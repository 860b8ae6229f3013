"""A valid file of rules, and files with one mistake each."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.contract import rules
from shared.contract.reading.mistakes import Mistake, Mistakes

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
