"""A handwritten YAML or JSON file as a value, and its duplicate names. Pure.

    value, doubled = value_of(b"zones: {door: 1, door: 2}")     # {"zones": {"door": 2}}, [zones.door: it is there …]

Raises the errors of the YAML and JSON parsers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from shared.contract.reading.mistakes import Mistake, Mistakes, join

# libyaml's reader is fast, and bounds the nesting.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Python prints no number of over 4300 digits.
_LONG_NUMBER = re.compile(r"[-+]?[0-9a-fA-FxXob_:.]{100,}")


class _Object(list[tuple[str, Any]]):
    """A JSON object's fields, in the order of the file."""


def parse(text: bytes, where: str, most_bytes: int) -> tuple[Any, list[Mistake]]:
    """Return (the value of a file, its duplicate names). where: names the file in Mistakes, which it raises."""
    if len(text) > most_bytes:
        raise Mistakes(where, [Mistake("", f"it has {len(text)} bytes, where {most_bytes} are the most")])
    try:
        return value_of(text)
    except Exception as e:  # PyYAML's constructors raise errors of any type
        raise Mistakes(where, [Mistake("", f"neither YAML nor JSON: {' '.join(str(e).split())}")]) from e


def value_of(text: bytes) -> tuple[Any, list[Mistake]]:
    """Return (the value, duplicate names). JSON is parsed as JSON: YAML 1.1 reads some of its numbers as texts."""
    try:
        return msgspec.json.decode(text), list(_doubled(json.loads(text, object_pairs_hook=_Object)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A few lines of aliases of aliases expand beyond any memory. The search for them uses msgspec's parser:
        # Python's own refuses some input that C's accepts.
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("aliases (*name) are not taken: write it out") from None
            if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _LONG_NUMBER.fullmatch(event.value):
                raise ValueError("a number has over 100 digits") from None
        return msgspec.yaml.decode(text), list(_doubled(yaml.compose(text, Loader=LOADER)))


def _doubled(written: Any) -> Iterator[Mistake]:
    """Yield duplicate names: only the last would count, unnoticed. Files may be nested deeply, so nothing recurses
    here.
    """
    left = [iter([("", written)])]
    while left:
        path, part = next(left[-1], (None, None))
        if path is None:
            left.pop()
            continue
        if isinstance(part, yaml.MappingNode):
            part = _Object((key.value, item) for key, item in part.value if isinstance(key, yaml.ScalarNode))
        elif isinstance(part, yaml.SequenceNode):
            part = part.value
        if isinstance(part, _Object):
            for key, times in Counter(key for key, _ in part).items():
                if times > 1:
                    yield Mistake(join(path, key), f"it is there {times} times: give it once")
        if isinstance(part, _Object | list):
            left.append(items(path, part))


def items(path: str, part: Any) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of each item of an object or a list, one at a time: a long path may have many items."""
    if isinstance(part, dict | _Object):
        pairs = part.items() if isinstance(part, dict) else iter(part)
        yield from ((join(path, key), item) for key, item in pairs)
    else:
        yield from ((f"{path}[{i}]", item) for i, item in enumerate(part))
