"""Every mistake in a value, by its type: msgspec alone stops at the first. Pure.

Example:
    for mistake in mistakes({"zones": {"door": {"polygn": []}}}, Rules):
        mistake.path, mistake.text          # "zones.door.polygn", "there is no such field: did you mean 'polygon'?"
"""

from __future__ import annotations

import difflib
import functools
import re
import reprlib
import types
import typing
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from shared.runtime.errors import SettingError


class Mistake(NamedTuple):
    """path: `rules[2].zone`; empty for the whole."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


# Characters of a name in a path, and of a path. Mistakes that are reported of one value.
MOST_NAME, MOST_PATH, MOST = 100, 400, 1000


class Mistakes(SettingError):
    """A file by hand is invalid. all: every mistake in it."""

    def __init__(self, where: str, all: list[Mistake]) -> None:
        lines = "\n".join(f"  {m}" for m in all)
        super().__init__(f"{where} has {len(all)} mistake{'s' * (len(all) > 1)}:\n{lines}")
        self.all = all


def mistakes(value: Any, kind: Any, path: str = "") -> list[Mistake]:
    """Return the first mistakes, in the order of the value; none if `msgspec.convert(value, kind)` works."""
    return list(islice(_mistakes(value, kind, path), MOST)) or list(_whole(value, kind, path))


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return the end of a sentence on an unknown `name`: the likely intended name, or the candidates."""
    candidates = sorted(candidates)
    if close := difflib.get_close_matches(name, candidates, n=1, cutoff=0.6):
        return f": did you mean {close[0]!r}?"
    return (
        f": there {'is' if len(candidates) == 1 else 'are'} {', '.join(candidates)}"
        if candidates
        else ": none is given"
    )


def _mistakes(value: Any, kind: Any, path: str) -> Iterator[Mistake]:
    kind, origin, arguments = _open(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _of_struct(value, kind, path)
    elif origin in (Union, types.UnionType):
        yield from _of_union(value, arguments, path)
    elif (origin is list or (origin is tuple and ... in arguments)) and isinstance(value, list):
        for i, item in enumerate(value):
            yield from mistakes(item, arguments[0], f"{path}[{i}]")
    elif origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        for i, item in enumerate(value):
            yield from mistakes(item, arguments[i], f"{path}[{i}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            at = join(path, key)
            yield from (Mistake(at, f"as a name, {m.text}") for m in mistakes(key, arguments[0]))
            yield from mistakes(item, arguments[1], at)


def _of_struct(value: Any, kind: type[msgspec.Struct], path: str) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield Mistake(path, f"an object is expected, with {_listed(_required(kind))}, not {_shown(value)}")
        return
    hints, fields = _fields(kind)
    tag = kind.__struct_config__.tag_field
    for key, item in value.items():
        if key in fields:
            yield from mistakes(item, hints[fields[key].name], join(path, key))
        elif tag is None or key != tag:
            yield Mistake(join(path, key), f"there is no such field{nearest(str(key), fields)}")
    for name, field in fields.items():
        if field.required and name not in value:
            yield Mistake(path, f"its field {name!r} is missing")


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, msgspec.structs.FieldInfo]]:
    """Return (the types, the fields by their names in a file) of a struct."""
    return get_type_hints(kind, include_extras=True), {f.encode_name: f for f in msgspec.structs.fields(kind)}


def _of_union(value: Any, arguments: tuple[Any, ...], path: str) -> Iterator[Mistake]:
    if type(None) in arguments:
        if value is not None:
            (rest,) = [a for a in arguments if a is not type(None)]
            yield from mistakes(value, rest, path)
        return
    tag = arguments[0].__struct_config__.tag_field
    kinds = {a.__struct_config__.tag: a for a in arguments}
    if not isinstance(value, dict):
        yield Mistake(path, f"an object is expected, with {tag!r} and what that needs, not {_shown(value)}")
    elif tag not in value:
        yield Mistake(path, f"its field {tag!r} is missing: one of {', '.join(kinds)}")
    elif not isinstance(value[tag], str) or value[tag] not in kinds:
        yield Mistake(join(path, tag), f"there is no kind {value[tag]!r}{nearest(str(value[tag]), kinds)}")
    else:
        yield from mistakes(value, kinds[value[tag]], path)


def _whole(value: Any, kind: Any, path: str) -> Iterator[Mistake]:
    """Yield the mistake that msgspec itself finds: in a plain value, or in the number of items."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as e:
        text = re.sub(r" - at `[^`]*`$", "", str(e))
        yield Mistake(path, f"{_sentence(text, kind)}, not {_shown(value)}")


def _sentence(text: str, kind: Any) -> str:
    """Rephrase msgspec's message for authors of files."""
    described = next((a.description for a in get_args(kind)[1:] if isinstance(a, msgspec.Meta) and a.description), "")
    kind = _open(kind)[0]
    if get_origin(kind) is typing.Literal:
        return f"one of {', '.join(str(a) for a in get_args(kind))} is expected"
    if described:
        return f"{described} expected"
    if text == "Number out of range":
        return "a number of a usual size is expected"
    text = re.sub(r", got \d+$", "", text)
    text = re.sub(r"^Expected `(\w+)`, got `\w+`$", lambda m: f"{_WORDS.get(m[1], m[1])} is expected", text)
    text = re.sub(r"^Expected `(\w+)`", lambda m: _WORDS.get(m[1], m[1]), text)
    return text if text.endswith("expected") else f"{text} is expected"


_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "array": "a list",
    "object": "an object",
    "bool": "true or false",
}


def _open(kind: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """Return (the type without its annotations, its origin, its arguments)."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind, get_origin(kind), get_args(kind)


def _required(kind: type[msgspec.Struct]) -> list[str]:
    fields = msgspec.structs.fields(kind)
    return [f.encode_name for f in fields if f.required] or [f.encode_name for f in fields]


def _listed(names: list[str]) -> str:
    return ", ".join(repr(n) for n in names)


def join(path: str, key: Any) -> str:
    """Return the path of a field. Long paths are cut: a file may have a mistake at each of thousands of items."""
    name = str(key)
    name = name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 3]}..."
    path = path if len(path) <= MOST_PATH else f"...{path[3 - MOST_PATH :]}"
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    try:
        text = reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
