"""The fields that an answer of the API has in common with what it is made of."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def alike(kind: type[T], source: object, /, **others: Any) -> T:
    """Return a struct with the values that `source` has under the same names. others: all other fields."""
    same = {name: getattr(source, name) for name in kind.__struct_fields__ if name not in others}
    return kind(**same, **others)
