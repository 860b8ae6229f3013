"""A foreign file as a value: YAML or JSON, with aliases that expand within bounds. Pure.

Example:
    value = read(b"a: &x [1]\\nb: *x", "config.yml")        # {"a": [1], "b": [1]}; raises SettingError
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import yaml

from shared.contract.reading.handwritten import LOADER
from shared.runtime.errors import SettingError

# The largest configurations of a hundred cameras have a tenth of this.
MOST_BYTES = 1024 * 1024
# Values of a file, with its aliases written out.
MOST_VALUES = 100_000
MOST_DEPTH = 64


def read(text: bytes, where: str) -> dict[str, Any]:
    """Return the fields of a file, all with names that are texts. Raises SettingError, which repeats no value."""
    if len(text) > MOST_BYTES:
        raise SettingError(f"{where} has {len(text)} bytes, and {MOST_BYTES} are the most: split it")
    value = _plain(_json(text, where) or _yaml(text, where))
    if not isinstance(value, dict):
        raise SettingError(f"{where} has no fields: give a file with 'name: value' lines")
    return value


def read_list(text: bytes, where: str, name: str) -> dict[str, Any]:
    """Return the fields of a file; one that is a list becomes the field `name`. Raises SettingError."""
    return read(b'{"%s": %s}' % (name.encode(), text) if text.lstrip()[:1] == b"[" else text, where)


def _json(text: bytes, where: str) -> Any:
    """Return the value of a JSON file; None if it is not JSON."""
    doubled: list[str] = []

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled.extend(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=fields)
    except (ValueError, RecursionError):
        return None
    if doubled:
        raise SettingError(f"{where} has {doubled[0][:64]!r} twice in an object: give it once")
    return value


def _yaml(text: bytes, where: str) -> Any:
    try:
        root = yaml.compose(text, LOADER)
        if root is None:
            return {}
        _check(root, where)
        return yaml.load(text, LOADER)  # noqa: S506, which does not know that it is a safe one
    except SettingError:
        raise
    except yaml.MarkedYAMLError as e:
        line = f" in line {e.problem_mark.line + 1}" if e.problem_mark else ""
        raise SettingError(f"{where} is neither YAML nor JSON: see{line} (its values are not shown)") from None
    except Exception:  # PyYAML's constructors raise errors of any type, with values in them
        raise SettingError(f"{where} is neither YAML nor JSON, or has values that YAML can't read") from None


def _check(root: yaml.Node, where: str) -> None:
    """Raise SettingError for duplicate names, and for a value that is too large once its aliases are written out."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > MOST_DEPTH:
            raise SettingError(f"{where} is nested deeper than {MOST_DEPTH} levels, or an alias is in itself")
        if isinstance(node, yaml.ScalarNode):
            return 1
        known = sizes.get(id(node))
        if known is not None:
            return known
        if isinstance(node, yaml.MappingNode):
            _check_names(node, where)
            parts = [part for pair in node.value for part in pair]
        else:
            parts = node.value
        sizes[id(node)] = total = 1 + sum(size(part, depth + 1) for part in parts)
        if total > MOST_VALUES:
            raise SettingError(f"{where} has over {MOST_VALUES} values with its aliases (*name): write them out, split")
        return total

    size(root, 0)


def _check_names(node: yaml.MappingNode, where: str) -> None:
    names: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise SettingError(f"{where}, line {key.start_mark.line + 1}: a name is a text")
        if key.value in names and key.value != "<<":
            line = key.start_mark.line + 1
            raise SettingError(f"{where}, line {line}: {key.value[:64]!r} is there twice: give it once")
        names.add(key.value)


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON's types alone. Names become texts."""
    if depth > MOST_DEPTH:
        raise SettingError(f"the file is nested deeper than {MOST_DEPTH} levels")
    if isinstance(value, dict):
        return {_text(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item, depth + 1) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else _encodable(str(value))


def _text(key: Any) -> str:
    return _encodable(json.dumps(key) if isinstance(key, (bool, int, float)) else str(key))


def _encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON can hold and UTF-8 can't."""
    return text.encode(errors="replace").decode()
