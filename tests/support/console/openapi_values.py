"""The operations of an OpenAPI document, and values for them: valid ones by their schema, and invalid ones.

Example:
    values = Values(document, {"camera": ["lobby"]})
    values.right({"type": "integer", "minimum": 1})     # a strategy of hypothesis
    values.near({"$ref": "#/components/schemas/NewCamera"})
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Operation = dict[str, Any]

METHODS = ("get", "put", "post", "patch", "delete")

TIMES = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2040, 1, 1), timezones=st.just(dt.UTC)).map(
    lambda time: time.isoformat()
)
_LONGEST = 40
_BIG = 2**70

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-_BIG, _BIG)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=_LONGEST),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


class Values:
    """names: of existing objects, by the word in the name of a field or a parameter for them."""

    def __init__(self, document: dict[str, Any], names: Mapping[str, Sequence[str]]) -> None:
        self._schemas: dict[str, Schema] = document["components"]["schemas"]
        self._names = names

    def right(self, schema: Schema, field: str = "") -> st.SearchStrategy[Any]:
        """Values of the schema. A text with a pattern has only named values. field: the field of the values."""
        schema = self._found(schema)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return st.one_of([self.right(each, field) for each in schema[several]])
        if "const" in schema or "enum" in schema:
            return st.sampled_from(schema.get("enum", [schema.get("const")]))
        match schema.get("type"):
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                return st.integers(*_bounds(schema, -_BIG, _BIG))
            case "number":
                low, high = _bounds(schema, -sys.float_info.max, sys.float_info.max)
                return st.integers(1, 4) | st.floats(low, high) if low <= 1 and high >= 4 else st.floats(low, high)
            case "string":
                return self._text(schema, field)
            case "array":
                most = min(schema.get("maxItems", 4), max(4, schema.get("minItems", 0)))
                inner = self.right(schema.get("items", {}), field)
                return st.lists(inner, min_size=schema.get("minItems", 0), max_size=most)
            case "object":
                return self._object(schema)
        return ANY

    def near(self, schema: Schema) -> st.SearchStrategy[Any]:
        """Valid values, values with a wrong or unknown part, and anything else."""
        right = self.right(schema)
        parts = sorted(self._found(schema).get("properties", ()))
        if not parts:
            return right | ANY
        more = st.dictionaries(st.sampled_from(parts) | st.text(max_size=12), ANY, min_size=1, max_size=2)
        wrong = st.builds(lambda value, other: {**value, **other}, right, more)
        less = st.builds(
            lambda value, part: {k: v for k, v in value.items() if k != part}, right, st.sampled_from(parts)
        )
        return right | right | wrong | less | ANY

    def parameter(self, parameter: dict[str, Any]) -> st.SearchStrategy[str]:
        """Texts for a parameter of a path or a query: times if its description mentions one."""
        right = self.right(parameter["schema"], parameter["name"])
        if re.search(r"\d{4}-\d\d|RFC 3339", parameter.get("description", "")):
            right = TIMES | st.just("") | TIMES
        elif names := self._named(parameter["name"]):
            right = st.sampled_from(names)
        return st.builds(_written, right | right | right | st.text(max_size=_LONGEST))

    def _found(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _named(self, field: str) -> list[str]:
        return [name for word, names in self._names.items() if word in field for name in names]

    def _text(self, schema: Schema, field: str) -> st.SearchStrategy[str]:
        if schema.get("contentEncoding") == "base64":
            return st.binary(max_size=64).map(lambda data: base64.b64encode(data).decode())
        if schema.get("format") == "date-time":
            return TIMES
        everything = [name for names in self._names.values() for name in names]
        names = self._named(field) or everything
        if "pattern" in schema and (fit := [name for name in names if re.search(schema["pattern"], name)]):
            return st.sampled_from(fit)
        most = min(schema.get("maxLength", _LONGEST), _LONGEST)
        written = st.text(min_size=min(schema.get("minLength", 0), most), max_size=most)
        return st.sampled_from(names) | written | TIMES

    def _object(self, schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
        parts, needed = schema.get("properties", {}), set(schema.get("required", ()))
        if not parts:
            values = self.right(schema.get("additionalProperties") or {})
            return st.dictionaries(st.text(max_size=12), values, max_size=3)
        always = {name: self.right(part, name) for name, part in parts.items() if name in needed}
        more = {name: self.right(part, name) for name, part in parts.items() if name not in needed}
        if not more:
            return st.fixed_dictionaries(always)
        # Few together: some exclude all others.
        some = st.lists(st.sampled_from(sorted(more)), unique=True, max_size=3)
        return some.flatmap(lambda names: st.fixed_dictionaries(always | {name: more[name] for name in names}))


def _bounds(schema: Schema, low: Any, high: Any) -> tuple[Any, Any]:
    """A range of both kinds of bounds; the end that an open bound excludes does not matter."""
    return (
        schema.get("minimum", schema.get("exclusiveMinimum", low)),
        schema.get("maximum", schema.get("exclusiveMaximum", high)),
    )


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    """(method, path, operation) of each."""
    for path, item in document["paths"].items():
        yield from ((method.upper(), path, item[method]) for method in METHODS if method in item)
