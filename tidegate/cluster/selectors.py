"""Labels and their selectors: for pods, namespaces and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]


def selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Match a label selector: all of matchLabels and matchExpressions have to hold."""
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(holds(e, labels) for e in selector.get("matchExpressions") or [])


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Evaluate one expression of a label selector, or of a node's affinity, which also has Gt and Lt."""
    value, operator = labels.get(str(expression.get("key"))), expression.get("operator")
    values = list(expression.get("values") or [])
    if operator in ("In", "NotIn"):
        return (value in values) is (operator == "In")
    if operator in ("Exists", "DoesNotExist"):
        return (value is not None) is (operator == "Exists")
    try:
        number, bound = int(str(value)), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else number < bound
