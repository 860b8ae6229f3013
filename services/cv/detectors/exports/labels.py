"""Labels of an exported model: in its metadata, or in a file next to it. Pure, but for these files.

| where | example | written by |
|---|---|---|
| `model.labels.txt`, `model.txt` | one label a line, from id 0 on | people |
| the file's metadata: `names` | `{0: 'person', 1: 'car'}` | Ultralytics |
| `model.yaml`, `metadata.yaml`, `data.yaml` | `names:`, a list or a mapping | Ultralytics, Roboflow |
| `infer_cfg.yml` | `label_list`, a list | PaddleDetection |
| `config.json` | `id2label` | transformers |
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from services.cv import coco
from shared.runtime.errors import ModelError

# More labels, or longer files, are refused: Objects365 has 365, LVIS 1203.
_MOST = 20_000
_MOST_BYTES = 4 * 2**20


class Labels(NamedTuple):
    """names: from id 0 on. source: where they were found, for people."""

    names: tuple[str, ...]
    source: str


def find(path: Path, metadata: Mapping[str, str]) -> Labels | None:
    """Return the labels of the model at `path`, None if there are none. Raises ModelError for an unreadable source."""
    for file in (path.with_suffix(".labels.txt"), path.with_suffix(".txt")):
        if file.is_file():
            return Labels(tuple(line.strip() for line in _text(file).splitlines()), str(file))
    if stated := metadata.get("names"):
        try:
            return Labels(_names(ast.literal_eval(stated)), "the file's metadata")
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as e:
            raise ModelError(f"{path}: its metadata names no labels that can be read: {stated[:80]!r}") from e
    for file in (path.with_suffix(".yaml"), path.with_name("metadata.yaml"), path.with_name("data.yaml")):
        if file.is_file():
            return _parsed(file, yaml.safe_load, "names")
    if (file := path.with_name("infer_cfg.yml")).is_file():
        return _parsed(file, yaml.safe_load, "label_list")
    if (file := path.with_name("config.json")).is_file():
        return _parsed(file, json.loads, "id2label")
    return None


def entries(path: Path) -> dict[str, str]:
    """Return the entries of a YAML file as text, none if there is no such file. Raises ModelError."""
    if not path.is_file():
        return {}
    try:
        document = yaml.safe_load(_text(path))
    except yaml.YAMLError as e:
        raise ModelError(f"{path} can't be read: {' '.join(str(e).split())[:120]}") from e
    return {str(key): str(value) for key, value in document.items()} if isinstance(document, dict) else {}


def of_coco(count: int) -> Labels | None:
    """Return COCO's labels for a number of classes that is COCO's: 80, or 91 by their ids, of which 0 is none."""
    known = {80: coco.LABELS, 91: ("-", *coco.BY_ID[1:])}.get(count)
    return Labels(known, f"COCO, as there are {count} classes") if known else None


def _parsed(path: Path, parse: Any, key: str) -> Labels | None:
    try:
        document = parse(_text(path))
        names = document.get(key) if isinstance(document, dict) else None
        return Labels(_names(names), str(path)) if names else None
    except (ValueError, TypeError, yaml.YAMLError) as e:
        raise ModelError(f"{path}: {key} holds no labels that can be read: {' '.join(str(e).split())[:120]}") from e


def _names(value: object) -> tuple[str, ...]:
    """Return labels from a list, or a mapping of ids. Raises ValueError."""
    if isinstance(value, Mapping):
        by_id = {int(id): str(name) for id, name in value.items()}
        if not by_id or min(by_id) < 0 or max(by_id) >= _MOST:
            raise ValueError(f"ids from 0 to {_MOST} are expected")
        return tuple(by_id.get(id, "-") for id in range(max(by_id) + 1))
    if isinstance(value, list | tuple) and value and len(value) <= _MOST:
        return tuple(map(str, value))
    raise ValueError("a list or a mapping of ids is expected")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path} is larger than {_MOST_BYTES >> 20} MiB: one label a line is expected")
        return path.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise ModelError(f"{path} can't be read as labels: {e}") from e
