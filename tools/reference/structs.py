"""A msgspec struct as a table of its fields, with their meanings from the docstrings. Pure.

A docstring explains fields as in `first, last: when it was seen. zones: those it is in.`: names of fields and a colon
begin their explanation.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from shared.contract.reading import bounds
from tools.reference.markdown import code, prose, table

_NAMES = re.compile(r"(?:^|(?<=\. )|(?<=\n))([a-z_]+(?:, [a-z_]+)*): ")


def summary(struct: type[msgspec.Struct]) -> str:
    """Return the part of the docstring that describes the struct itself: all before its fields."""
    text = prose(struct.__doc__)
    return text[: next(iter(_starts(struct, text)), (len(text), 0, ""))[0]].strip()


def fields_table(struct: type[msgspec.Struct], link: Callable[[str], str] = code, without: Collection[str] = ()) -> str:
    """Return a row for each field: its name in JSON, its type, its default, and its meaning.

    link: Markdown for the name of another struct. without: fields to omit.
    """
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    meaning_of = meanings(struct)
    rows = []
    for field in info.fields:
        if field.name in without:
            continue
        needed = field.default is NODEFAULT and field.default_factory is NODEFAULT
        default = "needed" if needed else _default(field)
        rows.append((code(field.encode_name), words(field.type, link), default, meaning_of.get(field.name, "")))
    return table(("field", "type", "default", "means"), rows)


def meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the meaning of each field, from the docstrings of the struct and its base classes."""
    found: dict[str, str] = {}
    for base in reversed([c for c in struct.__mro__ if issubclass(c, msgspec.Struct) and c is not msgspec.Struct]):
        text = prose(base.__doc__)
        starts = [*_starts(base, text), (len(text), len(text), "")]
        for (_, begin, names), (end, _, _) in itertools.pairwise(starts):
            for name in names.split(", "):
                found[name] = text[begin:end].strip().removesuffix(".")
    return found


def reachable(*roots: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Return these structs and all structs that their fields contain, by name, in order of first occurrence."""
    found: dict[str, type[msgspec.Struct]] = {}

    def visit(kind: inspect.Type) -> None:
        match kind:
            case inspect.StructType() if kind.cls.__name__ not in found:
                found[kind.cls.__name__] = kind.cls
                for field in kind.fields:
                    visit(field.type)
            case inspect.Metadata():
                visit(kind.type)
            case inspect.ListType() | inspect.VarTupleType():
                visit(kind.item_type)
            case inspect.DictType():
                visit(kind.value_type)
            case inspect.UnionType():
                for each in kind.types:
                    visit(each)

    for root in roots:
        visit(inspect.type_info(root))
    return found


def described(kind: inspect.Type) -> str:
    """Return the description in a type's annotation, or an empty text."""
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or described(kind.type)
    return ""


def words(kind: inspect.Type, link: Callable[[str], str] = code) -> str:
    """Return a type in words, with its bounds."""
    match kind:
        case inspect.Metadata():
            inner, note = words(kind.type, link), described(kind)
            return f"{inner}: {note}" if note and isinstance(kind.type, inspect.TupleType) else inner
        case inspect.IntType():
            return "whole number" + _bounds(kind)
        case inspect.FloatType():
            return "number" + _bounds(kind)
        case inspect.StrType(pattern=pattern) if pattern:
            return _pattern(pattern.removesuffix(r"(?![\s\S])").removeprefix("^").removesuffix("$"))
        case inspect.StrType():
            return "text" + (f" of at most {kind.max_length} characters" if kind.max_length else "")
        case inspect.BoolType():
            return "true or false"
        case inspect.DateTimeType():
            return "time, RFC 3339"
        case inspect.BytesType():
            return "base64"
        case inspect.NoneType():
            return "null"
        case inspect.LiteralType():
            return ", ".join(code(str(value) or '""') for value in kind.values)
        case inspect.ListType() | inspect.VarTupleType():
            return f"list of {words(kind.item_type, link)}"
        case inspect.TupleType():
            return f"list of {len(kind.item_types)}, each a {words(kind.item_types[0], link)}"
        case inspect.DictType():
            return f"object, {words(kind.key_type, link)} to {words(kind.value_type, link)}"
        case inspect.StructType():
            return link(kind.cls.__name__)
        case inspect.UnionType():
            each_in_words = [words(each, link) for each in kind.types if not isinstance(each, inspect.NoneType)]
            return " or ".join(dict.fromkeys(each_in_words))
    raise TypeError(f"no words for {kind!r}: add them to {__name__}")


def _starts(struct: type[msgspec.Struct], text: str) -> list[tuple[int, int, str]]:
    """Return (start, start of the text, names) of each explanation of fields in a docstring."""
    fields = set(struct.__struct_fields__)
    return [(m.start(), m.end(), m[1]) for m in _NAMES.finditer(text) if set(m[1].split(", ")) <= fields]


def _default(field: inspect.Field) -> str:
    value: Any = field.default if field.default is not NODEFAULT else field.default_factory()
    if value is None or value in ("", [], {}, ()) or isinstance(value, msgspec.Struct):
        return ""
    if isinstance(value, list):
        return code(", ".join(map(str, value)))
    return code(
        str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    low, high = (kind.ge, kind.gt), (kind.le, kind.lt)
    match low, high:
        case (None, None), (None, None):
            return ""
        case (int() | float() as ge, _), (int() | float() as le, _):
            return f", {_number(ge)} to {_number(le)}"
    limits = [
        text.format(_number(bound))
        for text, bound in (
            ("{} or more", kind.ge),
            ("over {}", kind.gt),
            ("{} at most", kind.le),
            ("under {}", kind.lt),
        )
        if bound is not None
    ]
    return ", " + " and ".join(limits)


def _number(value: float) -> str:
    """Return the number as text; the largest integer that every JSON reader supports is shown as a power."""
    return "2^53" if value == bounds.MOST else f"{value:g}"


def _pattern(pattern: str) -> str:
    """Return a pattern as text; if it is only a list of alternatives, list them."""
    if re.fullmatch(r"\([\w|]+\)", pattern):
        return ", ".join(map(code, pattern.strip("()").split("|")))
    return f"text like `{pattern}`"
