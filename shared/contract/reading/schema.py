"""JSON Schema of messages on the bus."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec


def any_of(title: str, kinds: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    """Return JSON Schema 2020-12 of all `kinds`, by name, under `$defs`.

    Not oneOf: one kind may extend another. The subject tells which it is.
    """
    _, defs = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    for described in defs.values():
        if "description" in described:
            # Python 3.13 removes the indentation of docstrings; earlier versions keep it.
            described["description"] = inspect.cleandoc(described["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds],
        "$defs": defs,
    }
